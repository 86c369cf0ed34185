import { createRequire, syncBuiltinESMExports } from 'node:module'
import type * as Zlib from 'node:zlib'

/**
 * Import it before anything that takes `gzip` or `gunzip` from node:zlib: those run in threads, which come back whenever they
 * like. While a simulation runs they do their work at the call, and answer when its scheduler says.
 */

type Callback = (error: Error | null, result: Buffer) => void
type Compress = (bytes: Uint8Array, options: object, callback: Callback) => void

const zlib = createRequire(import.meta.url)('node:zlib') as typeof Zlib
let schedule: ((fn: () => void) => void) | undefined

/** From now on results come through `later`; undefined: from the threads, as ever. */
export function scheduleZlibOn(later: ((fn: () => void) => void) | undefined): void {
  schedule = later
}

function atTheCall(threaded: Compress, work: (bytes: Uint8Array, options: object) => Buffer): Compress {
  return (bytes, options, callback) => {
    if (schedule === undefined) return threaded(bytes, options, callback)
    let result: Buffer = Buffer.alloc(0)
    let failure: Error | null = null
    try {
      result = work(bytes, options)
    } catch (error) {
      failure = error as Error
    }
    schedule(() => callback(failure, result))
  }
}

Object.assign(zlib, {
  gzip: atTheCall(zlib.gzip as Compress, zlib.gzipSync),
  gunzip: atTheCall(zlib.gunzip as Compress, zlib.gunzipSync),
})
syncBuiltinESMExports()
