import { createRequire } from 'node:module'

type Mask = (source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number) => void

/** Below this a call into native code costs more than the loop. */
const NATIVE_BYTES_MIN = 48

function inJavaScript(
  source: Uint8Array,
  mask: Uint8Array,
  output: Uint8Array,
  offset: number,
  length: number,
): void {
  for (let i = 0; i < length; i++) output[offset + i] = source[i]! ^ mask[i & 3]!
}

function native(): Mask {
  try {
    return (createRequire(import.meta.url)('bufferutil') as { mask: Mask }).mask
  } catch {
    // An optional dependency, which has no binary for every platform.
    return inJavaScript
  }
}

const long = native()

/** Copies `length` bytes of `source` to `output` from `offset` on, and takes the client's mask (RFC 6455, 5.3) off them. */
export const unmask: Mask = (source, mask, output, offset, length) => {
  const run = length < NATIVE_BYTES_MIN ? inJavaScript : long
  run(source, mask, output, offset, length)
}
