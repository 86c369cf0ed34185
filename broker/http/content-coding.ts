/** How the bytes of an answer are written: as they are, or compressed. */
export type Coding = 'identity' | 'gzip'

/** Whether a client that sends this Accept-Encoding would rather have gzip. */
export function prefersGzip(header: string | string[] | undefined): boolean {
  let gzip: number | undefined
  let identity: number | undefined
  let any: number | undefined
  for (const part of String(header ?? '').split(',')) {
    const [name = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    const q = parameters.find((parameter) => parameter.startsWith('q='))
    const quality = q === undefined ? 1 : Number(q.slice(2)) || 0
    if (name === 'gzip' || name === 'x-gzip') gzip = quality
    else if (name === 'identity') identity = quality
    else if (name === '*') any = quality
  }
  const wanted = gzip ?? any ?? 0
  // "identity" that is not named is the last resort.
  return wanted > 0 && wanted >= (identity ?? 0)
}
