import { closeSync, openSync, writeSync } from 'node:fs'
import type { TraceLine } from './trace.js'

const LINES_PER_WRITE = 4_096

/** Every event of a run, a line each, so that two runs can be compared where they part. */
export class TraceFile {
  readonly #descriptor: number
  #lines: string[] = []

  constructor(path: string) {
    this.#descriptor = openSync(path, 'w')
  }

  add({ step, timeMs, owner, kind, detail }: TraceLine): void {
    this.#lines.push(`${step} ${timeMs.toFixed(4)} ${owner}: ${kind} ${detail}\n`)
    if (this.#lines.length >= LINES_PER_WRITE) this.#flush()
  }

  close(): void {
    this.#flush()
    closeSync(this.#descriptor)
  }

  #flush(): void {
    writeSync(this.#descriptor, this.#lines.join(''))
    this.#lines = []
  }
}
