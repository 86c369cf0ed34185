import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Disk } from '../../broker/platform/disk.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { MortalDisk } from '../../testing/mortal-disk.js'
import { MortalOperations } from '../../testing/mortal-operations.js'
import { hasPendingWork } from '../../testing/pending-work.js'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-mortal-'))
})

afterEach(() => rm(directory, { recursive: true }))

function mortalDisk(disk: Disk = nodeDisk) {
  const operations = new MortalOperations()
  return { operations, disk: new MortalDisk(disk, operations) }
}

/** Whether it settles while other things do. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const note = (): void => {
    settled = true
  }
  promise.then(note, note)
  await new Promise((resolve) => setTimeout(resolve, 50))
  return settled
}

describe('the disk of one life of a broker', () => {
  it('is the disk beneath it while the life lasts', async () => {
    const { disk } = mortalDisk()
    const path = join(directory, 'a')
    const file = await disk.open(path, 'create')
    await file.write([Buffer.from('abc')], 0)
    await file.sync()
    expect(await file.size()).toBe(3)
    await file.truncate(2)
    const buffer = Buffer.alloc(8)
    expect(await file.read(buffer, 0)).toBe(2)
    await file.close()
    await disk.rename(path, join(directory, 'b'))
    await disk.replaceFile(join(directory, 'c'), Buffer.from('c'))
    expect(await disk.list(directory)).toEqual(['b', 'c'])
    expect(await disk.exists(path)).toBe(false)
    await disk.remove(join(directory, 'b'))
    await disk.makeDirectory(join(directory, 'd'))
    await disk.syncDirectory(directory)
    expect(Buffer.from(await disk.readFile(join(directory, 'c'))).toString()).toBe('c')
    expect(await disk.freeBytes(directory)).toBeGreaterThan(0)
    await expect(disk.readFile(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('begins nothing after its end, and answers nothing', async () => {
    const { operations, disk } = mortalDisk()
    const file = await disk.open(join(directory, 'a'), 'create')
    operations.end()
    const calls = [
      file.write([Buffer.from('abc')], 0),
      file.read(Buffer.alloc(1), 0),
      file.sync(),
      file.truncate(9),
      file.size(),
      file.close(),
      disk.open(join(directory, 'b'), 'create'),
      disk.list(directory),
      disk.makeDirectory(join(directory, 'c')),
      disk.rename(join(directory, 'a'), join(directory, 'd')),
      disk.remove(join(directory, 'a')),
      disk.syncDirectory(directory),
      disk.exists(directory),
      disk.readFile(join(directory, 'a')),
      disk.replaceFile(join(directory, 'a'), Buffer.from('e')),
      disk.freeBytes(directory),
    ]
    expect(await isSettled(Promise.race(calls))).toBe(false)
    expect(await readdir(directory)).toEqual(['a'])
    expect((await readFile(join(directory, 'a'))).length).toBe(0)
    await disk.closeFiles()
  })

  it('keeps to itself what the kernel finishes after its end, and closes what was left open', async () => {
    const open: string[] = []
    const watched: Disk = {
      ...nodeDisk,
      async open(path, mode) {
        const file = await nodeDisk.open(path, mode)
        open.push(path)
        const close = file.close.bind(file)
        file.close = () => {
          open.splice(open.indexOf(path), 1)
          return close()
        }
        return file
      },
    }
    const { operations, disk } = mortalDisk(watched)
    const file = await disk.open(join(directory, 'a'), 'create')
    const write = file.write([Buffer.alloc(1 << 20, 1)], 0)
    const opening = disk.open(join(directory, 'b'), 'create')
    expect(hasPendingWork()).toBe(true)
    operations.end()
    await operations.settled()
    expect(hasPendingWork()).toBe(false)
    expect(open.length).toBe(2)
    await disk.closeFiles()
    expect(open).toEqual([])
    expect(await isSettled(Promise.race([write, opening]))).toBe(false)
    expect((await readFile(join(directory, 'a'))).length).toBe(1 << 20)
  })

  it('may end between any two steps of replacing a file', async () => {
    for (let steps = 1; ; steps++) {
      const operations = new MortalOperations()
      let left = steps
      let over: () => void = () => {}
      const ended = new Promise<void>((resolve) => {
        over = resolve
      })
      const count = async <T>(begin: () => Promise<T>): Promise<T> => {
        const value = await begin()
        if (--left === 0) {
          operations.end()
          over()
        }
        return value
      }
      const counted: Disk = {
        ...nodeDisk,
        remove: (path) => count(() => nodeDisk.remove(path)),
        open: (path, mode) => count(() => nodeDisk.open(path, mode)),
        rename: (from, to) => count(() => nodeDisk.rename(from, to)),
        syncDirectory: (path) => count(() => nodeDisk.syncDirectory(path)),
      }
      const disk = new MortalDisk(counted, operations)
      const path = join(directory, 'value')
      await nodeDisk.replaceFile(path, Buffer.from('old'))
      const replaced = disk.replaceFile(path, Buffer.from('new'))
      const isDone = await Promise.race([replaced.then(() => true), ended.then(() => false)])
      await operations.settled()
      await disk.closeFiles()
      const renamed = steps >= 3
      expect((await readFile(path)).toString()).toBe(renamed ? 'new' : 'old')
      if (isDone) {
        expect(steps).toBe(5)
        return
      }
    }
  })
})
