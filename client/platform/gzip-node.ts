import { promisify } from 'node:util'
import { gunzip as gunzipCallback, gzip as gzipCallback } from 'node:zlib'

const gzipAsync = promisify<Uint8Array, { level: number }, Uint8Array>(gzipCallback)
const gunzipAsync = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(gunzipCallback)

/** Batches are compressed while others wait for them: most of the gain for a third of the time of the default. */
const LEVEL = 3

export function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  return gzipAsync(bytes, { level: LEVEL })
}

/** Rejects when `bytes` are no gzip or inflate to more than `bytesMax`. */
export function gunzip(bytes: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  return gunzipAsync(bytes, { maxOutputLength: Math.max(1, bytesMax) })
}
