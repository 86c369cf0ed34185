import {
  DIRECT_ALIGN_BYTES,
  DiskError,
  type DiskFile,
  type DiskOperation,
  type OpenMode,
} from '../../broker/platform/disk.js'
import type { SimulatedDisk } from './simulated-disk.js'
import type { SimulatedInode, WriteInFlight } from './simulated-inode.js'

/** An open file of a simulated disk. */
export class SimulatedFile implements DiskFile {
  readonly path: string
  readonly #disk: SimulatedDisk
  readonly #inode: SimulatedInode
  readonly #mode: OpenMode
  readonly #underWay = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(disk: SimulatedDisk, path: string, inode: SimulatedInode, mode: OpenMode) {
    this.path = path
    this.#disk = disk
    this.#inode = inode
    this.#mode = mode
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#run('read', async () => {
      let count = 0
      await this.#disk.perform('read', this.path, {
        begin: () => undefined,
        // The bytes are those of the moment it returns; a real disk may give any mixture of before and after.
        end: () => {
          count = this.#inode.read(buffer, position)
        },
      })
      return count
    })
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return this.#run('write', async () => {
      this.#mustBeWritable('write')
      const bytes = new Uint8Array(Buffer.concat(buffers))
      if (this.#mode === 'createDirect' || this.#mode === 'durableDirect') mustBeAligned(buffers, position)
      const durable = this.#mode === 'durable' || this.#mode === 'durableDirect'
      await this.#disk.perform('write', this.path, {
        begin: () => this.#beginWrite(bytes, position),
        end: (write) => {
          this.#mustBeUnchanged(buffers, bytes)
          write.complete({ durable })
        },
        fail: () => this.#writePart(bytes, position, { durable }),
      })
    })
  }

  sync(): Promise<void> {
    return this.#run('sync', async () => {
      await this.#disk.perform('sync', this.path, {
        begin: () => this.#inode.sync(),
        end: (sync) => sync.complete(),
        fail: () => this.#inode.sync().fail(),
      })
    })
  }

  truncate(bytes: number): Promise<void> {
    return this.#run('truncate', async () => {
      this.#mustBeWritable('truncate')
      await this.#disk.perform('truncate', this.path, { begin: () => this.#inode.resize(bytes) })
    })
  }

  size(): Promise<number> {
    return this.#run('size', () =>
      this.#disk.perform('size', this.path, { begin: () => this.#inode.cached.size }),
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle()
    return this.#closing
  }

  async #closeWhenIdle(): Promise<void> {
    // What is under way on a dead disk never ends.
    if (!this.#disk.isDead) await Promise.allSettled(this.#underWay)
    await this.#disk.perform('close', this.path, { begin: () => undefined })
  }

  #beginWrite(bytes: Uint8Array, position: number): WriteInFlight {
    if (this.#inode.cached.growth(position, bytes.byteLength) > this.#disk.free()) {
      this.#writePart(bytes, position, { durable: false })
      throw new DiskError({ code: 'ENOSPC', path: this.path, operation: 'write' })
    }
    return this.#inode.write(bytes, position)
  }

  /** A caller that reuses a buffer too early would, on a real disk, now and then write something else. */
  #mustBeUnchanged(buffers: readonly Uint8Array[], bytes: Uint8Array): void {
    let at = 0
    for (const buffer of buffers) {
      if (Buffer.compare(buffer, bytes.subarray(at, at + buffer.byteLength)) !== 0) {
        throw new Error(`a buffer of a write to ${this.path} changed while the write was under way`)
      }
      at += buffer.byteLength
    }
  }

  async #run<T>(operation: DiskOperation, run: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new DiskError({ code: 'EBADF', path: this.path, operation })
    const promise = run()
    this.#underWay.add(promise)
    try {
      return await promise
    } finally {
      this.#underWay.delete(promise)
    }
  }

  #mustBeWritable(operation: DiskOperation): void {
    if (this.#mode === 'read') throw new DiskError({ code: 'EBADF', path: this.path, operation })
  }

  /** What a failed write left behind. */
  #writePart(bytes: Uint8Array, position: number, options: { durable: boolean }): void {
    const part = bytes.subarray(0, this.#disk.partOf(bytes.byteLength))
    const fits = this.#inode.cached.growth(position, part.byteLength) <= this.#disk.free()
    if (part.byteLength > 0 && fits) this.#inode.write(part, position).fail(options)
  }
}

/** As the kernel does, without a fallback: a test is to see it. */
function mustBeAligned(buffers: readonly Uint8Array[], position: number): void {
  const [only, ...rest] = buffers
  const [bytes, offset] = [only?.length ?? 0, only?.byteOffset ?? 0]
  if (rest.length > 0) throw new Error('a direct write has more than one buffer')
  for (const number of [bytes, position, offset])
    if (number % DIRECT_ALIGN_BYTES !== 0)
      throw new Error(
        `a direct write of ${bytes} bytes, ${offset} into their memory, at ${position} is not aligned`,
      )
}
