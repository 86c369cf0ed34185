import { crc32 } from 'node:zlib'

/** One thing that the scheduler ran, or that the world did to those it runs. */
export interface TraceLine {
  readonly step: number
  readonly timeMs: number
  readonly owner: string
  readonly kind: string
  readonly detail: string | number
}

/** A running hash over everything that happens: two runs of one seed are the same run if theirs are equal. */
export class Trace {
  readonly #onLine: ((line: TraceLine) => void) | undefined
  readonly #time = new Float64Array(1)
  readonly #timeWords = new Uint32Array(this.#time.buffer)
  readonly #kinds = new Map<string, number>()
  #high = 0x811c9dc5
  #low = 0x9e3779b9

  constructor(onLine?: (line: TraceLine) => void) {
    this.#onLine = onLine
  }

  get hash(): string {
    return [this.#high, this.#low].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }

  add(line: TraceLine): void {
    this.#time[0] = line.timeMs
    this.#mix(this.#timeWords[0] as number)
    this.#mix(this.#timeWords[1] as number)
    this.#mix(this.#wordOf(line.owner))
    this.#mix(this.#wordOf(line.kind))
    this.#mix(typeof line.detail === 'number' ? line.detail : crc32(line.detail))
    this.#onLine?.(line)
  }

  #wordOf(text: string): number {
    let word = this.#kinds.get(text)
    if (word === undefined) {
      word = crc32(text)
      this.#kinds.set(text, word)
    }
    return word
  }

  #mix(word: number): void {
    this.#high = Math.imul(this.#high ^ word, 0x01000193)
    this.#low = Math.imul((this.#low << 5) ^ (this.#low >>> 2) ^ word, 0x85ebca6b) ^ this.#high
  }
}
