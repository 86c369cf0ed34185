import { WEBSOCKET_PATH } from '../../protocol/version.js'
import { illegalArgument } from '../errors.js'

/**
 * How records that are sealed are read. `'http'`: from the broker's own port, as immutable chunks that every HTTP cache on the way may
 * keep, the browser's among them. With a `url`: by way of what answers there, a CDN or a proxy before the broker.
 */
export type History = 'http' | { readonly url: string | URL }

/** Where the paths of the broker begin, without a slash at the end. Throws ILLEGAL_ARGUMENT. */
export function historyUrl(history: History, socketUrl: string): string {
  if (history === 'http') return httpUrlOf(socketUrl)
  const given: unknown = typeof history === 'object' && history !== null ? history.url : undefined
  if (!(typeof given === 'string' || given instanceof URL)) {
    throw illegalArgument("`history` is 'http' or { url }")
  }
  let parsed: URL
  try {
    parsed = new URL(given)
  } catch {
    throw illegalArgument(`history: "${given}" is no URL; one looks like https://cdn.example.com`)
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
    throw illegalArgument(`history: "${given}": a URL for HTTP begins with http:// or https://`)
  if (parsed.search !== '' || parsed.hash !== '')
    throw illegalArgument(`history: "${given}": paths are put behind it, so it has no ? and no #`)
  return withoutSlash(parsed)
}

/** The port that serves WebSockets serves HTTP. */
function httpUrlOf(socketUrl: string): string {
  const url = new URL(socketUrl)
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:'
  url.search = ''
  url.pathname = url.pathname.endsWith(WEBSOCKET_PATH) ? url.pathname.slice(0, -WEBSOCKET_PATH.length) : '/'
  return withoutSlash(url)
}

const withoutSlash = ({ href }: URL): string => href.replace(/\/+$/, '')
