import { type Disk, DiskError, type DiskFile, type DiskOperation } from '../../broker/platform/disk.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'

/** What fails, until it is taken away again. */
export interface DiskFault {
  readonly operations: readonly DiskOperation[]
  readonly path: RegExp
  readonly code: string
  /** So many matching calls pass before. */
  readonly skip?: number
}

/** The machine's disk, of which chosen operations fail for as long as a test wants. */
export class FaultyDisk {
  readonly disk: Disk
  /** Calls that were made to fail. */
  failures = 0
  #fault: DiskFault | undefined
  #skip = 0

  constructor() {
    this.disk = {
      open: async (path, mode) => {
        this.#check('open', path)
        return this.#file(await nodeDisk.open(path, mode))
      },
      list: (path) => this.#through('list', path, () => nodeDisk.list(path)),
      makeDirectory: (path) => this.#through('makeDirectory', path, () => nodeDisk.makeDirectory(path)),
      rename: (from, to) => this.#through('rename', from, () => nodeDisk.rename(from, to)),
      remove: (path) => this.#through('remove', path, () => nodeDisk.remove(path)),
      syncDirectory: (path) => this.#through('syncDirectory', path, () => nodeDisk.syncDirectory(path)),
      exists: (path) => this.#through('exists', path, () => nodeDisk.exists(path)),
      readFile: (path) => this.#through('readFile', path, () => nodeDisk.readFile(path)),
      replaceFile: (path, bytes) =>
        this.#through('replaceFile', path, () => nodeDisk.replaceFile(path, bytes)),
      freeBytes: (path) => this.#through('freeBytes', path, () => nodeDisk.freeBytes(path)),
    }
  }

  fail(fault: DiskFault): void {
    this.#fault = fault
    this.#skip = fault.skip ?? 0
    this.failures = 0
  }

  /** The cause is gone. */
  mend(): void {
    this.#fault = undefined
  }

  async #through<T>(operation: DiskOperation, path: string, run: () => Promise<T>): Promise<T> {
    this.#check(operation, path)
    return await run()
  }

  #check(operation: DiskOperation, path: string): void {
    const fault = this.#fault
    if (fault === undefined || !fault.operations.includes(operation) || !fault.path.test(path)) return
    if (this.#skip-- > 0) return
    this.failures++
    throw new DiskError({ code: fault.code, path, operation })
  }

  #file(file: DiskFile): DiskFile {
    const { path } = file
    return {
      path,
      read: (buffer, position) => this.#through('read', path, () => file.read(buffer, position)),
      write: (buffers, position) => this.#through('write', path, () => file.write(buffers, position)),
      sync: () => this.#through('sync', path, () => file.sync()),
      truncate: (bytes) => this.#through('truncate', path, () => file.truncate(bytes)),
      size: () => file.size(),
      close: () => file.close(),
    }
  }
}
