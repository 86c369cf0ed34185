import { Duplex } from 'node:stream'
import type { Pipe } from './pipe.js'

/**
 * The broker's end of a simulated connection, which takes the place of a `net.Socket`: what the session, its outbox, its
 * heartbeat and the `ws` package use of one.
 */
export class BrokerSocket extends Duplex {
  readonly remoteAddress = '127.0.0.1'
  readonly remotePort: number
  bytesRead = 0
  readonly #out: Pipe
  readonly #onPausing: (isPaused: boolean) => void
  readonly #onGone: () => void
  #accepted = 0
  #onBytes: ((bytes: Buffer) => void) | undefined
  #isReading = false

  constructor(options: {
    port: number
    out: Pipe
    onPausing: (isPaused: boolean) => void
    onGone: () => void
  }) {
    super({ allowHalfOpen: true })
    this.remotePort = options.port
    this.#out = options.out
    this.#onPausing = options.onPausing
    this.#onGone = options.onGone
  }

  /** As `net.Socket` counts: what was written, whether the kernel has it or not. */
  get bytesWritten(): number {
    return this.#accepted + this.writableLength
  }

  /** What arrives is read as from any stream. */
  readAsStream(): this {
    this.#onPausing(false)
    return this
  }

  /** From `resume` on `onBytes` gets what arrives; see `readInPlace`, which this is the counterpart of. */
  readWith(onBytes: (bytes: Buffer) => void): this {
    this.#onBytes = onBytes
    return this
  }

  received(bytes: Buffer): void {
    if (this.destroyed) return
    this.bytesRead += bytes.length
    if (this.#onBytes === undefined) this.push(bytes)
    else this.#onBytes(bytes)
  }

  ended(): void {
    if (this.destroyed) return
    this.push(null)
    this.read(0)
  }

  reset(): void {
    if (!this.destroyed)
      this.destroy(Object.assign(new Error('the connection was reset'), { code: 'ECONNRESET' }))
  }

  /** Node's HTTP parser holds its socket from native memory until it is closed, which a process that died never does. */
  letGo(): void {
    const { parser } = this as { parser?: { close(): void } | null }
    parser?.close()
  }

  override pause(): this {
    if (this.#isReading) {
      this.#isReading = false
      this.#onPausing(true)
    }
    return super.pause()
  }

  override resume(): this {
    if (!this.#isReading && this.#onBytes !== undefined) {
      this.#isReading = true
      this.#onPausing(false)
    }
    return super.resume()
  }

  setTimeout(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this._writev([{ chunk: bytes }], done)
  }

  override _writev(pieces: readonly { chunk: Buffer }[], done: () => void): void {
    // A copy, as the kernel makes one: the memory behind stored data is used again once `done` was called.
    const bytes = Buffer.concat(pieces.map(({ chunk }) => chunk))
    this.#out.send(bytes)
    const accept = (): void => {
      this.#accepted += bytes.length
      done()
    }
    if (this.#out.hasRoom) accept()
    else this.#out.onRoom(accept)
  }

  override _final(done: () => void): void {
    this.#out.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#onGone()
    done(error)
  }
}
