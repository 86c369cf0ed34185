import type { DiskFile } from '../platform/disk.js'

/** Pages are read in runs of this many, and the runs that follow in the file ahead. */
const RUN_PAGES = 256
const RUNS_AHEAD = 3

/** The pages of LMDB's data file, for one who asks for them in rising order: each is read once then, whatever the file's size. */
export class LmdbPages {
  readonly #file: DiskFile
  readonly #fileBytes: number
  readonly pageBytes: number
  readonly #runs = new Map<number, Promise<Buffer>>()

  constructor(file: DiskFile, { fileBytes, pageBytes }: { fileBytes: number; pageBytes: number }) {
    this.#file = file
    this.#fileBytes = fileBytes
    this.pageBytes = pageBytes
  }

  /** A view of a page; shorter where the file ends before its end. */
  async at(number: number): Promise<Buffer> {
    const run = Math.floor(number / RUN_PAGES)
    for (const read of this.#runs.keys()) if (read < run || read > run + RUNS_AHEAD) this.#runs.delete(read)
    for (let each = run; each <= run + RUNS_AHEAD && this.#start(each) < this.#fileBytes; each++)
      if (!this.#runs.has(each)) this.#runs.set(each, this.#read(each))
    const at = (number % RUN_PAGES) * this.pageBytes
    return (await (this.#runs.get(run) ?? Buffer.alloc(0))).subarray(at, at + this.pageBytes)
  }

  /** Resolves when nothing is being read any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#runs.values())
    this.#runs.clear()
  }

  #start(run: number): number {
    return run * RUN_PAGES * this.pageBytes
  }

  #read(run: number): Promise<Buffer> {
    const start = this.#start(run)
    const bytes = Buffer.allocUnsafeSlow(Math.min(RUN_PAGES * this.pageBytes, this.#fileBytes - start))
    const read = this.#file.read(bytes, start).then((length) => bytes.subarray(0, length))
    // Told to whoever asks for a page of it.
    read.catch(() => {})
    return read
  }
}
