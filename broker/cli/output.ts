import { once } from 'node:events'
import type { Writable } from 'node:stream'

/** The reader of our output has gone, as `head` does when it has enough. Commands end quietly on it. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed'
}

/** Bytes that may wait in the stream before a write waits for the reader. */
const waitingBytesMax = 1024 * 1024

/** A command's stdout: large writes, no more in memory than the reader is behind by, and a quiet end at EPIPE. */
export class Output {
  readonly #stream: Writable
  #error: Error | undefined
  #failed: (error: Error) => void = () => {}
  /** Rejects when the stream fails: with `OutputClosed` when its reader has gone. */
  readonly failure = new Promise<never>((_, reject) => {
    this.#failed = reject
  })

  constructor(stream: Writable = process.stdout) {
    this.#stream = stream
    this.failure.catch(() => {})
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#error ??= error.code === 'EPIPE' ? new OutputClosed('the reader has gone') : error
      this.#failed(this.#error)
    })
  }

  /** Resolves when there is room for more. One call at a time. */
  async write(data: string | Uint8Array): Promise<void> {
    if (this.#error !== undefined) throw this.#error
    this.#stream.write(data)
    if (this.#stream.writableLength < waitingBytesMax) return
    await Promise.race([once(this.#stream, 'drain'), this.failure])
  }

  /** Resolves when everything written has left the process. */
  async flush(): Promise<void> {
    if (this.#error !== undefined) throw this.#error
    const written = new Promise<void>((resolve) => {
      this.#stream.write('', (error) => {
        if (error == null) resolve()
      })
    })
    await Promise.race([written, this.failure])
  }
}

/** Writes a whole answer to stdout. */
export async function print(text: string): Promise<void> {
  const output = new Output()
  await output.write(text)
  await output.flush()
}

let isTolerant = false

/** What is printed after the reader of stdout or stderr has gone is lost in silence, as for every other command. */
export function tolerateLostReaders(): void {
  if (isTolerant) return
  isTolerant = true
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && stream.listenerCount('error') === 1) throw error
    })
  }
}
