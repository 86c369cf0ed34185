import { MillraceError } from '../../protocol/error-codes.js'
import { printable } from './shape.js'

/** `type/subtype` of a Content-Type in lower case, without parameters; undefined when there is none. Throws UNSUPPORTED_MEDIA_TYPE. */
export function mediaTypeOf(contentType: string | undefined): string | undefined {
  if (contentType === undefined) return undefined
  const type = (contentType.split(';', 1)[0] as string).trim().toLowerCase()
  if (/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(type)) return type
  throw unsupportedType(contentType)
}

/** The refusal of a body's type. */
export const unsupportedType = (type: string | undefined, taken?: readonly string[]): MillraceError =>
  new MillraceError('UNSUPPORTED_MEDIA_TYPE', {
    message: `${type === undefined ? 'the body has no Content-Type' : `"${printable(type)}" is not taken here`}${
      taken === undefined ? '' : `; taken are ${taken.join(', ')}`
    }`,
  })

/**
 * The one of `offers` that an Accept header likes best; the first of them among equals, and when there is no header.
 * Throws NOT_ACCEPTABLE.
 */
export function accepted<const Offer extends string>(
  accept: string | undefined,
  offers: readonly Offer[],
): Offer {
  if (accept === undefined || accept.trim() === '') return offers[0] as Offer
  const ranges = accept.split(',').map(rangeOf)
  let best: { offer: Offer; quality: number } | undefined
  for (const offer of offers) {
    const quality = qualityOf(offer, ranges)
    if (quality > (best?.quality ?? 0)) best = { offer, quality }
  }
  if (best !== undefined) return best.offer
  throw new MillraceError('NOT_ACCEPTABLE', { message: `the answer can be ${offers.join(' or ')}` })
}

interface MediaRange {
  readonly type: string
  readonly quality: number
}

function rangeOf(text: string): MediaRange {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
  const q = parameters.find((parameter) => parameter.startsWith('q='))
  const quality = q === undefined ? 1 : Number(q.slice(2))
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 }
}

/** By the most specific range that fits. */
function qualityOf(offer: string, ranges: readonly MediaRange[]): number {
  const family = `${offer.split('/', 1)[0]}/*`
  for (const type of [offer, family, '*/*']) {
    const range = ranges.find((range) => range.type === type)
    if (range !== undefined) return range.quality
  }
  return 0
}
