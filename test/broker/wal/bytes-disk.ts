import { basename } from 'node:path'
import { type Disk, DiskError, type DiskFile } from '../../../broker/platform/disk.js'
import type { SimulatedDisk } from '../../support/simulated-disk.js'
import { directory } from './wal-fixture.js'

const refused = (operation: 'open' | 'write', path: string): DiskError =>
  new DiskError({ code: 'EROFS', path, operation })

/** A directory of bytes to read, without a turn of the loop: a scan of it is quick enough to be run for every byte. */
export class BytesDisk implements Pick<Disk, 'list' | 'open'> {
  readonly files: Map<string, Uint8Array>

  constructor(files: Iterable<readonly [name: string, bytes: Uint8Array]>) {
    this.files = new Map([...files].map(([name, bytes]) => [name, new Uint8Array(bytes)]))
  }

  /** A copy of what a WAL's directory holds. */
  static async of(disk: SimulatedDisk): Promise<BytesDisk> {
    const files: [string, Uint8Array][] = []
    for (const name of await disk.list(directory))
      files.push([name, await disk.readFile(`${directory}/${name}`)])
    return new BytesDisk(files)
  }

  /** As the scanner takes it, which only reads. */
  get disk(): Disk {
    return this as unknown as Disk
  }

  async list(): Promise<string[]> {
    return [...this.files.keys()].sort()
  }

  async open(path: string): Promise<DiskFile> {
    const bytes = this.files.get(basename(path))
    if (bytes === undefined) throw refused('open', path)
    return {
      path,
      async read(buffer, position) {
        const part = bytes.subarray(position, position + buffer.length)
        buffer.set(part)
        return part.length
      },
      size: async () => bytes.length,
      async close() {},
      write: () => Promise.reject(refused('write', path)),
      sync: () => Promise.reject(refused('write', path)),
      truncate: () => Promise.reject(refused('write', path)),
    }
  }
}
