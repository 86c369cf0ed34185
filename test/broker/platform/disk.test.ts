import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Disk, DiskError, type DiskFile } from '../../../broker/platform/disk.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'

/** The simulated disk is worth something only if it behaves as the real one does while nothing goes wrong. */
const kinds: readonly { name: string; make: () => { disk: Disk; root: string; remove(): void } }[] = [
  {
    name: 'the real disk',
    make() {
      const root = mkdtempSync(join(tmpdir(), 'millrace-disk-'))
      return { disk: nodeDisk, root, remove: () => rmSync(root, { recursive: true }) }
    },
  },
  { name: 'the simulated disk', make: () => ({ disk: new SimulatedDisk(), root: '/', remove() {} }) },
]

describe.each(kinds)('$name', ({ make }) => {
  let disk: Disk
  let root: string
  let remove: () => void

  beforeEach(() => {
    ;({ disk, root, remove } = make())
  })
  afterEach(() => remove())

  const at = (...names: string[]): string => join(root, ...names)
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
  const text = async (path: string): Promise<string> => new TextDecoder().decode(await disk.readFile(path))

  async function create(name: string, content = ''): Promise<DiskFile> {
    const file = await disk.open(at(name), 'create')
    await file.write([bytes(content)], 0)
    return file
  }

  async function failure(promise: Promise<unknown>): Promise<DiskError> {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(DiskError)
    return error as DiskError
  }

  it('reads back what was written at a position, and zeros before it', async () => {
    const file = await create('a')
    await file.write([bytes('world')], 6)
    await file.write([bytes('hel'), bytes(''), bytes('lo')], 0)
    const buffer = new Uint8Array(11)
    expect(await file.read(buffer, 0)).toBe(11)
    expect(new TextDecoder().decode(buffer)).toBe('hello\0world')
    expect(await file.size()).toBe(11)
    await file.close()
  })

  it('reads fewer bytes than asked only at the end of the file', async () => {
    const file = await create('a', 'abcdef')
    const buffer = new Uint8Array(4).fill(0x2e)
    expect(await file.read(buffer, 4)).toBe(2)
    expect(new TextDecoder().decode(buffer)).toBe('ef..')
    expect(await file.read(buffer, 6)).toBe(0)
    expect(await file.read(buffer, 100)).toBe(0)
    expect(await file.read(new Uint8Array(0), 0)).toBe(0)
    await file.close()
  })

  it('writes thousands of buffers of many sizes in one call', async () => {
    const random = new SeededRandom(7)
    const buffers = Array.from({ length: 3_500 }, () => random.bytes(random.below(40)))
    const whole = Buffer.concat(buffers)
    const file = await create('a')
    await file.write(buffers, 3)
    expect(Buffer.from(await disk.readFile(at('a'))).subarray(3)).toEqual(whole)
    await file.close()
  })

  it('writes nothing when given no buffers', async () => {
    const file = await create('a')
    await file.write([], 10)
    await file.write([new Uint8Array(0)], 10)
    expect(await file.size()).toBe(0)
    await file.close()
  })

  it('carries out writes and reads that are under way together', async () => {
    const file = await create('a')
    const blocks = Array.from({ length: 50 }, (_, index) => new Uint8Array(4096).fill(index))
    await Promise.all(blocks.map((block, index) => file.write([block], index * 4096)))
    const read = await Promise.all(
      blocks.map(async (_, index) => {
        const buffer = new Uint8Array(4096)
        await file.read(buffer, index * 4096)
        return buffer
      }),
    )
    expect(read).toEqual(blocks)
    await file.close()
  })

  it('cuts a file off and stretches it with zeros', async () => {
    const file = await create('a', 'abcdef')
    await file.truncate(3)
    await file.truncate(5)
    await file.sync()
    expect(await text(at('a'))).toBe('abc\0\0')
    await file.close()
  })

  it('opens files to read, to write and to write durably', async () => {
    await (await create('a', 'abc')).close()
    const reader = await disk.open(at('a'), 'read')
    const writer = await disk.open(at('a'), 'readWrite')
    const durable = await disk.open(at('a'), 'durable')
    await writer.write([bytes('X')], 0)
    await durable.write([bytes('Y')], 2)
    const buffer = new Uint8Array(3)
    await reader.read(buffer, 0)
    expect(new TextDecoder().decode(buffer)).toBe('XbY')
    expect(reader.path).toBe(at('a'))
    expect(await failure(reader.write([bytes('Z')], 0))).toMatchObject({ operation: 'write', path: at('a') })
    await Promise.all([reader.close(), writer.close(), durable.close()])
  })

  it('creates a file only where there is none, and opens only what there is', async () => {
    await (await create('a')).close()
    expect(await failure(disk.open(at('a'), 'create'))).toMatchObject({ code: 'EEXIST', path: at('a') })
    for (const mode of ['read', 'readWrite', 'durable', 'durableDirect'] as const) {
      expect(await failure(disk.open(at('b'), mode))).toMatchObject({ code: 'ENOENT', operation: 'open' })
    }
    expect(await failure(disk.open(at('no', 'a'), 'create'))).toMatchObject({ code: 'ENOENT' })
    expect(await disk.list(root)).toEqual(['a'])
  })

  it('closes after what is under way, once, and refuses everything afterwards', async () => {
    const file = await create('a')
    const write = file.write([new Uint8Array(1 << 20).fill(1)], 0)
    await Promise.all([file.close(), file.close()])
    await write
    expect((await disk.readFile(at('a'))).byteLength).toBe(1 << 20)
    for (const call of [
      () => file.write([bytes('a')], 0),
      () => file.read(new Uint8Array(1), 0),
      () => file.sync(),
      () => file.size(),
      () => file.truncate(0),
    ]) {
      expect(await failure(call())).toMatchObject({ code: 'EBADF', path: at('a') })
    }
    await file.close()
  })

  it('lists names in order, and nothing for a missing directory', async () => {
    for (const name of ['b', 'a10', 'a9', 'B']) await (await create(name)).close()
    expect(await disk.list(root)).toEqual(['B', 'a10', 'a9', 'b'])
    expect(await disk.list(at('none'))).toEqual([])
  })

  it('makes a directory with its parents, and again without complaint', async () => {
    await disk.makeDirectory(at('x', 'y', 'z'))
    await disk.makeDirectory(at('x', 'y', 'z'))
    await disk.syncDirectory(at('x', 'y'))
    expect(await disk.list(at('x', 'y'))).toEqual(['z'])
    expect(await disk.exists(at('x'))).toBe(true)
  })

  it('renames over an existing file', async () => {
    await (await create('a', 'new')).close()
    await (await create('b', 'old')).close()
    await disk.rename(at('a'), at('b'))
    await disk.syncDirectory(root)
    expect(await disk.list(root)).toEqual(['b'])
    expect(await text(at('b'))).toBe('new')
    expect(await failure(disk.rename(at('a'), at('c')))).toMatchObject({
      code: 'ENOENT',
      operation: 'rename',
    })
  })

  it('removes a file, which stays readable to who has it open, and a missing one without complaint', async () => {
    const file = await create('a', 'abc')
    await disk.remove(at('a'))
    await disk.remove(at('a'))
    expect(await disk.exists(at('a'))).toBe(false)
    expect(await file.read(new Uint8Array(3), 0)).toBe(3)
    await file.close()
  })

  it('replaces a file as a whole and leaves no other name behind, even after an interrupted try', async () => {
    await (await create('a.tmp', 'left over by a crash')).close()
    await disk.replaceFile(at('a'), bytes('one'))
    await disk.replaceFile(at('a'), bytes('two'))
    expect(await text(at('a'))).toBe('two')
    expect(await disk.list(root)).toEqual(['a'])
  })

  it('knows how much can still be written', async () => {
    expect(await disk.freeBytes(root)).toBeGreaterThan(1 << 20)
    expect(await failure(disk.freeBytes(at('none')))).toMatchObject({ code: 'ENOENT' })
  })

  it('names the operation, the path and the cause in its errors', async () => {
    const error = await failure(disk.readFile(at('none')))
    expect(error.message).toBe(`readFile ${at('none')}: ENOENT, no such file or directory`)
    expect(await failure(disk.syncDirectory(at('none')))).toMatchObject({ operation: 'syncDirectory' })
  })
})
