/**
 * UTF-8 by the fastest means at hand: Node's Buffer, else TextEncoder and TextDecoder, else by hand (k6). All three agree:
 * a lone surrogate is written as U+FFFD, an ill-formed sequence is read as U+FFFD, a byte order mark is kept.
 */

/** Writes `text` at `position` and returns where it ends; three bytes per UTF-16 unit must be free. */
export type Utf8Writer = (text: string, position: number) => number
/** The text from `start` to `end` (exclusive). */
export type Utf8Reader = (start: number, end: number) => string

export interface Utf8 {
  writer(target: Uint8Array): Utf8Writer
  reader(source: Uint8Array): Utf8Reader
}

/** What is used of Node's Buffer; the type package is not there in every project that imports this. */
interface BufferMethods {
  write(text: string, position: number): number
  toString(encoding: 'utf8', start: number, end: number): string
  /** What `toString` comes to; every runtime with a Buffer of Node's has it, though Node's manual does not name it. */
  utf8Slice?(start: number, end: number): string
}
interface BufferConstructor {
  from(buffer: ArrayBufferLike, byteOffset: number, length: number): BufferMethods
}

/** By Buffer, where the global is Node's own. */
function bufferUtf8(): Utf8 | undefined {
  const host = globalThis as { Buffer?: BufferConstructor; process?: { versions?: { node?: string } } }
  const NodeBuffer = host.Buffer
  if (NodeBuffer === undefined || host.process?.versions?.node === undefined) return undefined
  const bufferOf = (bytes: Uint8Array): BufferMethods =>
    NodeBuffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    writer(target) {
      const buffer = bufferOf(target)
      return (text, position) => position + buffer.write(text, position)
    },
    reader(source) {
      const buffer = bufferOf(source)
      if (buffer.utf8Slice === undefined) return (start, end) => buffer.toString('utf8', start, end)
      return (start, end) => (buffer as Required<BufferMethods>).utf8Slice(start, end)
    },
  }
}

/** By TextEncoder and TextDecoder: browsers, workers, Deno, Bun. */
function textCodecUtf8(): Utf8 | undefined {
  if (typeof TextEncoder === 'undefined' || typeof TextDecoder === 'undefined') return undefined
  const encoder = new TextEncoder()
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    writer: (target) => (text, position) =>
      position + encoder.encodeInto(text, target.subarray(position)).written,
    reader: (source) => (start, end) => decoder.decode(source.subarray(start, end)),
  }
}

/** By hand. */
export const portableUtf8: Utf8 = {
  writer: (target) => (text, position) => writeUtf8(target, text, position),
  reader: (source) => (start, end) => readUtf8(source, start, end),
}

export const utf8: Utf8 = bufferUtf8() ?? textCodecUtf8() ?? portableUtf8

const REPLACEMENT = 0xfffd

function writeUtf8(target: Uint8Array, text: string, position: number): number {
  let at = position
  for (let i = 0; i < text.length; i++) {
    let point = text.charCodeAt(i)
    if (point < 0x80) {
      target[at++] = point
      continue
    }
    if (point >= 0xd800 && point < 0xe000) {
      const low = point < 0xdc00 ? text.charCodeAt(i + 1) : Number.NaN
      if (low >= 0xdc00 && low < 0xe000) {
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00)
        i++
      } else {
        point = REPLACEMENT
      }
    }
    if (point < 0x800) {
      target[at++] = 0xc0 | (point >> 6)
    } else {
      if (point < 0x10000) {
        target[at++] = 0xe0 | (point >> 12)
      } else {
        target[at++] = 0xf0 | (point >> 18)
        target[at++] = 0x80 | ((point >> 12) & 0x3f)
      }
      target[at++] = 0x80 | ((point >> 6) & 0x3f)
    }
    target[at++] = 0x80 | (point & 0x3f)
  }
  return at
}

/** String.fromCharCode takes its units as arguments, and engines bound how many. */
const UNITS_PER_CALL = 4096

function readUtf8(source: Uint8Array, start: number, end: number): string {
  let text = ''
  let units: number[] = []
  let at = start
  while (at < end) {
    const first = source[at++]!
    let point = first
    if (first >= 0x80) {
      // A lead byte allows only some second bytes: this keeps out overlong forms, surrogates and what is past U+10FFFF.
      const following = first < 0xc2 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 0
      let lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
      let highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
      point = following === 0 ? REPLACEMENT : first & (0x3f >> following)
      for (let i = 0; i < following; i++) {
        const byte = at < end ? source[at]! : 0
        if (byte < lowest || byte > highest) {
          point = REPLACEMENT
          break
        }
        point = (point << 6) | (byte & 0x3f)
        at++
        lowest = 0x80
        highest = 0xbf
      }
    }
    if (point < 0x10000) units.push(point)
    else units.push(0xd800 + ((point - 0x10000) >> 10), 0xdc00 + ((point - 0x10000) & 0x3ff))
    if (units.length >= UNITS_PER_CALL) {
      text += String.fromCharCode(...units)
      units = []
    }
  }
  return text + String.fromCharCode(...units)
}
