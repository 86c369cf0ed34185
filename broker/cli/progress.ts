import type { WriteStream } from 'node:tty'

const intervalMs = 200

/** One line on a terminal's stderr that is rewritten a few times a second; nothing where stderr is no terminal. */
export class Progress {
  readonly #stream: WriteStream | undefined
  readonly #line: () => string
  #shownAt = performance.now()
  #isShown = false

  constructor(line: () => string, stream: WriteStream = process.stderr) {
    this.#line = line
    this.#stream = stream.isTTY ? stream : undefined
  }

  /** Cheap enough to call for every block. */
  update(): void {
    if (this.#stream === undefined || performance.now() - this.#shownAt < intervalMs) return
    this.#shownAt = performance.now()
    this.#isShown = true
    this.#stream.write(`\r\x1b[K${this.#line().slice(0, this.#stream.columns - 1)}`)
  }

  /** Takes the line away, so that what is printed next stands alone. */
  clear(): void {
    if (this.#isShown) this.#stream?.write('\r\x1b[K')
    this.#isShown = false
  }
}
