import * as fs from 'node:fs'
import { DiskError, type DiskFile, type DiskOperation } from './disk.js'

/** libuv splits a writev beyond IOV_MAX (1,024) into several writes, each with its own wait for the disk. */
const buffersPerWriteMax = 1_000

type Settle<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/**
 * An open file on a bare descriptor. The write of one buffer is the WAL's hot path: one callback, one promise, no
 * FileHandle.
 */
export class NodeFile implements DiskFile {
  readonly path: string
  #descriptor: number
  /**
   * What to open the file with again, through the page cache, when the first direct write is refused; undefined when it
   * is not direct (any more). One write at a time: such a file has one writer.
   */
  #bufferedFlags: number | undefined
  /** Operations under way. The kernel gives a closed descriptor's number to the next file, so close must wait. */
  #pending = 0
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor(path: string, descriptor: number, options: { bufferedFlags?: number } = {}) {
    this.path = path
    this.#descriptor = descriptor
    this.#bufferedFlags = options.bufferedFlags
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#run('read', (settle) => {
      const step = (filled: number): void => {
        const wanted = buffer.byteLength - filled
        fs.read(this.#descriptor, buffer, filled, wanted, position + filled, (error, bytes) => {
          if (error || bytes === 0 || bytes === wanted) settle(error, filled + bytes)
          else step(filled + bytes)
        })
      }
      step(0)
    })
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return this.#run('write', (settle) => {
      const only = buffers[0]
      if (only === undefined) settle(null, undefined)
      else if (buffers.length === 1) this.#writeOne(only, position, settle)
      else this.#writeMany(coalesce(buffers), position, settle)
    })
  }

  sync(): Promise<void> {
    return this.#run('sync', (settle) => fs.fdatasync(this.#descriptor, settle as fs.NoParamCallback))
  }

  truncate(bytes: number): Promise<void> {
    return this.#run('truncate', (settle) =>
      fs.ftruncate(this.#descriptor, bytes, settle as fs.NoParamCallback),
    )
  }

  size(): Promise<number> {
    return this.#run('size', (settle) => {
      fs.fstat(this.#descriptor, (error, stats) => settle(error, error ? 0 : stats.size))
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle()
    return this.#closing
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#pending > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    await new Promise<void>((resolve, reject) => {
      fs.close(this.#descriptor, (error) => (error ? reject(this.#failure('close', error)) : resolve()))
    })
  }

  #run<T>(operation: DiskOperation, start: (settle: Settle<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closing) {
        reject(new DiskError({ code: 'EBADF', path: this.path, operation }))
        return
      }
      this.#pending++
      start((error, value) => {
        this.#pending--
        if (this.#pending === 0) this.#onIdle?.()
        if (error) reject(this.#failure(operation, error))
        else resolve(value)
      })
    })
  }

  #writeOne(buffer: Uint8Array, position: number, settle: Settle<void>): void {
    fs.write(this.#descriptor, buffer, 0, buffer.byteLength, position, (error, written) => {
      const flags = this.#bufferedFlags
      if (error?.code === 'EINVAL' && flags !== undefined)
        this.#writeBuffered(buffer, { position, flags }, settle)
      else if (error || written === buffer.byteLength) settle(error, undefined)
      else if (written === 0) settle(noProgress(), undefined)
      else this.#writeOne(buffer.subarray(written), position + written, settle)
    })
  }

  /** The file system or this memory is not fit for direct writes after all: from here on through the page cache. */
  #writeBuffered(
    buffer: Uint8Array,
    { position, flags }: { position: number; flags: number },
    settle: Settle<void>,
  ): void {
    this.#bufferedFlags = undefined
    fs.open(this.path, flags, (error, descriptor) => {
      if (error) return settle(error, undefined)
      const direct = this.#descriptor
      this.#descriptor = descriptor
      fs.close(direct, () => this.#writeOne(buffer, position, settle))
    })
  }

  #writeMany(buffers: readonly Uint8Array[], position: number, settle: Settle<void>): void {
    fs.writev(this.#descriptor, buffers, position, (error, written) => {
      if (error) return settle(error, undefined)
      const rest = after(buffers, written)
      if (rest.length === 0) settle(null, undefined)
      else if (written === 0) settle(noProgress(), undefined)
      else this.#writeMany(rest, position + written, settle)
    })
  }

  #failure(operation: DiskOperation, cause: unknown): DiskError {
    return DiskError.from(cause, { path: this.path, operation })
  }
}

/** Joins neighbours, evenly, until few enough are left for one writev. */
function coalesce(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
  if (buffers.length <= buffersPerWriteMax) return buffers
  const neighbours = Math.ceil(buffers.length / buffersPerWriteMax)
  const joined: Uint8Array[] = []
  for (let at = 0; at < buffers.length; at += neighbours)
    joined.push(Buffer.concat(buffers.slice(at, at + neighbours)))
  return joined
}

/** What is left of `buffers` after their first `bytes`. */
function after(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  let skip = bytes
  for (const buffer of buffers) {
    if (skip < buffer.byteLength) rest.push(buffer.subarray(skip))
    skip = Math.max(0, skip - buffer.byteLength)
  }
  return rest
}

function noProgress(): NodeJS.ErrnoException {
  return Object.assign(new Error('a write returned without writing anything'), { code: 'EIO' })
}
