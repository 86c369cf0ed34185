/** What is being measured: one line that changes on a terminal, else a line for each figure. */
export class Progress {
  readonly #stream: NodeJS.WriteStream
  readonly #startedMs = performance.now()

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream
  }

  /** For figure `index` of `count`. */
  figure(name: string, index: number, count: number): void {
    this.#say(`[${index + 1}/${count}] ${name}`, true)
  }

  run(figure: string, contender: string, { round, rounds }: { round: number; rounds: number }): void {
    this.#say(`${figure}: ${contender}, round ${round + 1} of ${rounds}`, false)
  }

  end(): void {
    if (this.#stream.isTTY) this.#stream.write('\r\x1b[K')
  }

  #say(text: string, isMajor: boolean): void {
    const elapsed = Math.round((performance.now() - this.#startedMs) / 1000)
    const line = `${Math.floor(elapsed / 60)}:${String(elapsed % 60).padStart(2, '0')} ${text}`
    if (this.#stream.isTTY) this.#stream.write(`\r\x1b[K${line.slice(0, (this.#stream.columns ?? 80) - 1)}`)
    else if (isMajor) this.#stream.write(`${line}\n`)
  }
}
