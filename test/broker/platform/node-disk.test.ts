import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { alignedMemory } from '../../../broker/platform/aligned-memory.js'
import { DIRECT_ALIGN_BYTES } from '../../../broker/platform/disk.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'

// ES module exports cannot be spied on, so the calls under test are wrapped where the module is loaded.
vi.mock('node:fs', { spy: true })

let root: string

beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'millrace-node-disk-'))
})
afterEach(() => {
  // To the real functions, which the spies call.
  vi.resetAllMocks()
  fs.rmSync(root, { recursive: true })
})

type Callback = (error: NodeJS.ErrnoException | null, bytes: number) => void

describe('nodeDisk', () => {
  it('writes past the page cache what is aligned', async () => {
    const file = await nodeDisk.open(join(root, 'direct'), 'createDirect')
    const flags = vi.mocked(fs.open).mock.calls.at(-1)?.[1] as unknown as number
    expect(flags & (fs.constants.O_DIRECT ?? 0)).toBe(fs.constants.O_DIRECT ?? 0)
    const block = alignedMemory(DIRECT_ALIGN_BYTES * 3).fill(5)
    await file.write([block], DIRECT_ALIGN_BYTES)
    await file.truncate(DIRECT_ALIGN_BYTES * 2 + 7)
    await file.sync()
    await file.close()
    const content = await nodeDisk.readFile(join(root, 'direct'))
    expect(content.length).toBe(DIRECT_ALIGN_BYTES * 2 + 7)
    expect(content.indexOf(5)).toBe(DIRECT_ALIGN_BYTES)
    await expect(nodeDisk.open(join(root, 'direct'), 'createDirect')).rejects.toMatchObject({
      code: 'EEXIST',
    })
  })

  it('writes through the page cache where the file system refuses direct writes', async () => {
    const { open } = await vi.importActual<typeof fs>('node:fs')
    const refused = Object.assign(new Error('EINVAL'), { code: 'EINVAL' })
    // As tmpfs before Linux 6.6: the file is made, the call fails.
    vi.mocked(fs.open).mockImplementationOnce(((path: string, flags: number, mode: number, done: Callback) =>
      open(path, flags & ~(fs.constants.O_DIRECT ?? 0), mode, (_, descriptor) =>
        fs.close(descriptor, () => done(refused, 0)),
      )) as typeof fs.open)
    const file = await nodeDisk.open(join(root, 'a'), 'createDirect')
    await file.write([new Uint8Array(DIRECT_ALIGN_BYTES).fill(1)], 0)
    await file.close()
    expect((await nodeDisk.readFile(join(root, 'a'))).length).toBe(DIRECT_ALIGN_BYTES)
  })

  it('goes on through the page cache when it is the write that is refused', async () => {
    const file = await nodeDisk.open(join(root, 'a'), 'createDirect')
    const refused = Object.assign(new Error('EINVAL'), { code: 'EINVAL' })
    vi.mocked(fs.write).mockImplementationOnce(((...args: unknown[]) =>
      (args.at(-1) as Callback)(refused, 0)) as unknown as typeof fs.write)
    await file.write([new Uint8Array(DIRECT_ALIGN_BYTES).fill(1)], 0)
    await file.write([new Uint8Array(DIRECT_ALIGN_BYTES).fill(2)], DIRECT_ALIGN_BYTES)
    await file.sync()
    await file.close()
    const content = await nodeDisk.readFile(join(root, 'a'))
    expect([content.length, content[0], content.at(-1)]).toEqual([2 * DIRECT_ALIGN_BYTES, 1, 2])
  })

  it('writes past the page cache and waits for the disk', async () => {
    await nodeDisk.replaceFile(join(root, 'a'), new Uint8Array(4 * DIRECT_ALIGN_BYTES))
    const file = await nodeDisk.open(join(root, 'a'), 'durableDirect')
    const flags = vi.mocked(fs.open).mock.calls.at(-1)?.[1] as unknown as number
    const wanted = fs.constants.O_DSYNC | (fs.constants.O_DIRECT ?? 0)
    expect(flags & wanted).toBe(wanted)
    await file.write([alignedMemory(DIRECT_ALIGN_BYTES).fill(3)], 2 * DIRECT_ALIGN_BYTES)
    await file.close()
    expect((await nodeDisk.readFile(join(root, 'a'))).indexOf(3)).toBe(2 * DIRECT_ALIGN_BYTES)
  })

  it.each(['open', 'write'] as const)(
    'still waits for the disk when direct writes are refused at the %s',
    async (refusing) => {
      await nodeDisk.replaceFile(join(root, 'a'), new Uint8Array(DIRECT_ALIGN_BYTES))
      const refused = Object.assign(new Error('EINVAL'), { code: 'EINVAL' })
      vi.mocked(refusing === 'open' ? fs.open : fs.write).mockImplementationOnce(((...args: unknown[]) =>
        (args.at(-1) as Callback)(refused, 0)) as never)
      const file = await nodeDisk.open(join(root, 'a'), 'durableDirect')
      await file.write([new Uint8Array(DIRECT_ALIGN_BYTES).fill(1)], 0)
      const flags = vi.mocked(fs.open).mock.calls.at(-1)?.[1] as unknown as number
      expect(flags & (fs.constants.O_DSYNC | (fs.constants.O_DIRECT ?? 0))).toBe(fs.constants.O_DSYNC)
      await file.close()
      expect((await nodeDisk.readFile(join(root, 'a')))[0]).toBe(1)
    },
  )

  it('goes on after short writes until every byte is written', async () => {
    const { write, writev } = await vi.importActual<typeof fs>('node:fs')
    const file = await nodeDisk.open(join(root, 'a'), 'create')
    const content = new Uint8Array(1000).map((_, index) => index)

    vi.mocked(fs.write).mockImplementation(((
      descriptor: number,
      buffer: Uint8Array,
      offset: number,
      length: number,
      position: number,
      done: Callback,
    ) => write(descriptor, buffer, offset, Math.min(length, 7), position, done)) as typeof fs.write)
    await file.write([content], 5)
    expect(Buffer.from(await nodeDisk.readFile(join(root, 'a'))).subarray(5)).toEqual(Buffer.from(content))
    expect(vi.mocked(fs.write).mock.calls.length).toBe(Math.ceil(1000 / 7))

    vi.mocked(fs.writev).mockImplementation(((
      descriptor: number,
      buffers: readonly Uint8Array[],
      position: number,
      done: Callback,
    ) => writev(descriptor, [Buffer.concat(buffers).subarray(0, 130)], position, done)) as typeof fs.writev)
    const parts = [content.subarray(0, 100), content.subarray(100, 101), content.subarray(101)]
    await file.write(parts, 2000)
    expect(Buffer.from(await nodeDisk.readFile(join(root, 'a'))).subarray(2000)).toEqual(Buffer.from(content))
    await file.close()
  })

  it('goes on after short reads until the buffer is full', async () => {
    const { read } = await vi.importActual<typeof fs>('node:fs')
    await nodeDisk.replaceFile(join(root, 'a'), new Uint8Array(100).fill(9))
    const file = await nodeDisk.open(join(root, 'a'), 'read')
    vi.mocked(fs.read).mockImplementation(((
      descriptor: number,
      buffer: Uint8Array,
      offset: number,
      length: number,
      position: number,
      done: Callback,
    ) => read(descriptor, buffer, offset, Math.min(length, 3), position, done)) as typeof fs.read)
    const buffer = new Uint8Array(50)
    expect(await file.read(buffer, 10)).toBe(50)
    expect(buffer).toEqual(new Uint8Array(50).fill(9))
    await file.close()
  })

  it('fails rather than spins when a write makes no progress', async () => {
    const file = await nodeDisk.open(join(root, 'a'), 'create')
    vi.mocked(fs.write).mockImplementation(((...args: unknown[]) =>
      (args.at(-1) as Callback)(null, 0)) as never)
    await expect(file.write([new Uint8Array(1)], 0)).rejects.toMatchObject({
      code: 'EIO',
      operation: 'write',
    })
    await file.close()
  })

  it('gives a group of thousands of buffers to the kernel in one call', async () => {
    const file = await nodeDisk.open(join(root, 'a'), 'create')
    await file.write(
      Array.from({ length: 5_000 }, () => new Uint8Array(10)),
      0,
    )
    expect(vi.mocked(fs.writev).mock.calls.map(([, buffers]) => buffers.length)).toEqual([1_000])
    await file.close()
  })

  it('opens durable files with O_DSYNC and no other', async () => {
    await nodeDisk.replaceFile(join(root, 'a'), new Uint8Array(1))
    vi.mocked(fs.open).mockClear()
    for (const mode of ['read', 'readWrite', 'durable', 'durableDirect'] as const) {
      await (await nodeDisk.open(join(root, 'a'), mode)).close()
    }
    const isDsync = vi
      .mocked(fs.open)
      .mock.calls.map(([, flags]) => (Number(flags) & fs.constants.O_DSYNC) !== 0)
    expect(isDsync).toEqual([false, false, true, true])
  })

  it('closes a descriptor only when nothing is under way on it', async () => {
    await nodeDisk.replaceFile(join(root, 'a'), new Uint8Array(10))
    const file = await nodeDisk.open(join(root, 'a'), 'read')
    let finish = (): void => {}
    vi.mocked(fs.read).mockImplementation(((...args: unknown[]) => {
      finish = () => (args.at(-1) as Callback)(null, 10)
    }) as never)
    vi.mocked(fs.close).mockClear()
    const read = file.read(new Uint8Array(10), 0)
    const closed = file.close()
    await new Promise((resolve) => setImmediate(resolve))
    expect(fs.close).not.toHaveBeenCalled()
    finish()
    expect(await read).toBe(10)
    await closed
    expect(fs.close).toHaveBeenCalledTimes(1)
  })

  it('never writes through a closed file into one that got its descriptor', async () => {
    const closed = await nodeDisk.open(join(root, 'a'), 'create')
    await closed.close()
    const other = await nodeDisk.open(join(root, 'b'), 'create')
    await expect(closed.write([new Uint8Array(10)], 0)).rejects.toMatchObject({ code: 'EBADF' })
    expect(await other.size()).toBe(0)
    await other.close()
  })

  it('syncs every directory that holds a new entry, and that of the last one even if it existed', async () => {
    const sync = vi.spyOn(nodeDisk, 'syncDirectory')
    await nodeDisk.makeDirectory(join(root, 'x', 'y', 'z'))
    expect(sync.mock.calls).toEqual([[join(root, 'x', 'y')], [join(root, 'x')], [root]])
    sync.mockClear()
    await nodeDisk.makeDirectory(join(root, 'x', 'y', 'z'))
    expect(sync.mock.calls).toEqual([[join(root, 'x', 'y')]])
  })

  it.skipIf(process.platform !== 'linux')('says so where nothing can be made in a directory', async () => {
    await expect(nodeDisk.makeDirectory('/proc/millrace/data')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('makes no directory where a file is in the way', async () => {
    await (await nodeDisk.open(join(root, 'f'), 'create')).close()
    await expect(nodeDisk.makeDirectory(join(root, 'f'))).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(nodeDisk.makeDirectory(join(root, 'f', 'x'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it('makes a directory that another one makes at the same time', async () => {
    const path = join(root, 'x', 'y', 'z')
    await Promise.all([1, 2, 3].map(() => nodeDisk.makeDirectory(path)))
    expect(fs.statSync(path).isDirectory()).toBe(true)
  })

  it('keeps data files and directories to their owner', async () => {
    await nodeDisk.makeDirectory(join(root, 'd'))
    await (await nodeDisk.open(join(root, 'd', 'a'), 'create')).close()
    expect(fs.statSync(join(root, 'd')).mode & 0o777).toBe(0o700)
    expect(fs.statSync(join(root, 'd', 'a')).mode & 0o777).toBe(0o600)
  })
})
