import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { DiskFile } from '../../../broker/platform/disk.js'
import { ManualClock } from '../../support/manual-clock.js'
import { crashedCode, SimulatedDisk } from '../../support/simulated-disk.js'
import { sectorBytes } from '../../support/simulated-inode.js'

const segmentBytes = 16 * sectorBytes

/** A segment as the WAL makes it: zeros written, synced, in a synced directory, opened durably. */
async function preallocate(disk: SimulatedDisk, path = '/segment', bytes = segmentBytes): Promise<DiskFile> {
  const file = await disk.open(path, 'create')
  await file.write([new Uint8Array(bytes)], 0)
  await file.sync()
  await file.close()
  await disk.syncDirectory('/')
  return await disk.open(path, 'durable')
}

/** A disk with one file, durable in every respect, open as asked. */
async function diskWith(seed: number, content: Uint8Array): Promise<{ disk: SimulatedDisk; file: DiskFile }> {
  const disk = new SimulatedDisk({ seed })
  await disk.replaceFile('/a', content)
  return { disk, file: await disk.open('/a', 'readWrite') }
}

const filled = (bytes: number, value: number): Uint8Array => new Uint8Array(bytes).fill(value)

/** Runs a scenario under many seeds and tells how often each outcome came out. */
async function outcomes(
  scenario: (seed: number) => Promise<string>,
  seeds = 200,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (let seed = 0; seed < seeds; seed++) {
    const outcome = await scenario(seed)
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
  }
  return counts
}

/** `toEqual` compares byte by byte, slowly. */
function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  expect(Buffer.compare(actual, expected)).toBe(0)
}

/** What a sector holds throughout; a mixture within a sector, which no disk produces, is named so. */
function sectors(bytes: Uint8Array): (number | 'mixed')[] {
  return Array.from({ length: bytes.byteLength / sectorBytes }, (_, index) => {
    const sector = bytes.subarray(index * sectorBytes, (index + 1) * sectorBytes)
    return sector.every((byte) => byte === sector[0]) ? (sector[0] ?? 0) : 'mixed'
  })
}

function describeWrite(bytes: Uint8Array): string {
  const kinds = new Set(sectors(bytes))
  return kinds.size === 1 ? [...kinds].join() : kinds.has('mixed') ? 'mixed' : 'torn'
}

describe('a crash of the simulated disk', () => {
  it('never touches a durable write that has returned, whatever else is under way', async () => {
    const write = fc.record({
      sector: fc.nat(15),
      sectors: fc.integer({ min: 1, max: 4 }),
      mode: fc.constantFrom('durable', 'cached', 'sync'),
      awaited: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(write, { minLength: 1, maxLength: 25 }), async (seed, writes) => {
        const disk = new SimulatedDisk({ seed })
        const durable = await preallocate(disk)
        const cached = await disk.open('/segment', 'readWrite')
        /** For each sector the values it may have: all those written since the last that was made durable. */
        const possible = Array.from({ length: 16 }, () => [0])
        const synced = new Set<Promise<void>>()
        for (const [index, { sector, sectors: count, mode, awaited }] of writes.entries()) {
          if (mode === 'sync') {
            await cached.sync()
            // What was in flight when the sync began is not covered by it.
            if (synced.size === 0) for (const values of possible) values.splice(0, values.length - 1)
            continue
          }
          const value = index + 1
          const end = Math.min(16, sector + count)
          const bytes = filled((end - sector) * sectorBytes, value)
          for (let at = sector; at < end; at++) possible[at]?.push(value)
          const done = (mode === 'durable' ? durable : cached).write([bytes], sector * sectorBytes)
          if (!awaited) {
            synced.add(done)
            continue
          }
          await done
          if (mode === 'durable') for (let at = sector; at < end; at++) possible[at] = [value]
        }
        const after = await disk.crash().readFile('/segment')
        for (const [at, value] of sectors(after).entries()) expect(possible[at]).toContain(value)
      }),
      { numRuns: 300 },
    )
  })

  it('shows after a sync and any crash, or after a kill, exactly what was read before', async () => {
    const change = fc.record({
      kind: fc.constantFrom('write', 'write', 'durable', 'truncate', 'sync'),
      position: fc.nat(3 * 4096),
      bytes: fc.nat(5_000),
    })
    const changes = fc.array(change, { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(fc.nat(), changes, changes, fc.boolean(), async (seed, before, later, killed) => {
        const { disk, file } = await diskWith(seed, filled(100, 255))
        const durable = await disk.open('/a', 'durable')
        const apply = async (list: typeof before): Promise<void> => {
          for (const [index, { kind, position, bytes }] of list.entries()) {
            if (kind === 'sync') await file.sync()
            else if (kind === 'truncate') await file.truncate(position)
            else await (kind === 'durable' ? durable : file).write([filled(bytes, index + 1)], position)
          }
        }
        await apply(before)
        await file.sync()
        const synced = await disk.readFile('/a')
        if (!killed) {
          expectSame(await disk.crash().readFile('/a'), synced)
          return
        }
        await apply(later)
        const cached = await disk.readFile('/a')
        const next = disk.kill()
        expectSame(await next.readFile('/a'), cached)
        await (await next.open('/a', 'readWrite')).sync()
        expectSame(await next.crash().readFile('/a'), cached)
      }),
      { numRuns: 300 },
    )
  })

  it('keeps, loses or tears a write that was not synced', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(8 * sectorBytes, 1))
      await file.write([filled(8 * sectorBytes, 2)], 0)
      return describeWrite(await disk.crash().readFile('/a'))
    })
    for (const outcome of ['1', '2', 'torn']) expect(counts.get(outcome)).toBeGreaterThan(20)
    expect([...counts.keys()].sort()).toEqual(['1', '2', 'torn'])
  })

  it('keeps, loses or tears a durable write that has not returned, and never answers it', async () => {
    let answered = false
    const note = (): void => {
      answered = true
    }
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      const file = await preallocate(disk)
      file.write([filled(segmentBytes, 2)], 0).then(note, note)
      const after = disk.crash()
      return describeWrite(await after.readFile('/segment'))
    })
    expect([...counts.keys()].sort()).toEqual(['0', '2', 'torn'])
    expect(answered).toBe(false)
  })

  it('may keep a later write and lose an earlier one', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(2 * sectorBytes, 0))
      await file.write([filled(sectorBytes, 1)], 0)
      await file.write([filled(sectorBytes, 2)], sectorBytes)
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['0,0', '0,2', '1,0', '1,2'])
  })

  it('never brings an earlier write back over a later durable one', async () => {
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      const durable = await preallocate(disk)
      const cached = await disk.open('/segment', 'readWrite')
      await cached.write([filled(3 * sectorBytes, 1)], 0)
      await durable.write([filled(sectorBytes, 2)], sectorBytes)
      return sectors(await disk.crash().readFile('/segment'))
        .slice(0, 3)
        .join()
    })
    expect([...counts.keys()].every((outcome) => outcome.split(',')[1] === '2')).toBe(true)
    expect(counts.size).toBe(4)
  })

  it('does not count a write that was in flight when the sync began as synced', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(sectorBytes, 0))
      const write = file.write([filled(sectorBytes, 1)], 0)
      await file.sync()
      await write
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['0', '1'])
  })

  it('may lose the growth of a file that was not synced, or keep the size without the bytes', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(sectorBytes, 1))
      await file.write([filled(sectorBytes, 2)], sectorBytes)
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['1', '1,0', '1,2'])
  })

  it('keeps the size that a returned durable write needs', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const { disk, file } = await diskWith(seed, filled(10, 1))
      await file.write([filled(10, 1)], 0)
      const durable = await disk.open('/a', 'durable')
      await durable.write([filled(10, 2)], 20)
      const after = await disk.crash().readFile('/a')
      expect([...after]).toEqual([...filled(10, 1), ...filled(10, 0), ...filled(10, 2)])
    }
  })

  it('may lose the growth by an earlier write although a durable one within the old size returned', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(sectorBytes, 1))
      await file.write([filled(sectorBytes, 2)], sectorBytes)
      await (await disk.open('/a', 'durable')).write([filled(sectorBytes, 3)], 0)
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['3', '3,0', '3,2'])
  })

  it('never shows what was written after a truncation that it lost', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(3 * sectorBytes, 1))
      await file.truncate(sectorBytes)
      await file.write([filled(sectorBytes, 2)], sectorBytes)
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['1', '1,0', '1,1,1', '1,2'])
  })

  it('may undo a truncation that was not synced, and never shows what one that was had cut off', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(4 * sectorBytes, 1))
      await file.truncate(2 * sectorBytes)
      await file.sync()
      await file.truncate(sectorBytes)
      await file.truncate(3 * sectorBytes)
      return sectors(await disk.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['1', '1,0,0', '1,1'])
  })

  it('may lose a new file whose directory was not synced, even when its bytes were', async () => {
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      const file = await disk.open('/a', 'create')
      await file.write([filled(10, 1)], 0)
      await file.sync()
      const after = disk.crash()
      return (await after.exists('/a')) ? [...(await after.readFile('/a'))].join('') : 'lost'
    })
    expect([...counts.keys()].sort()).toEqual(['1111111111', 'lost'])
  })

  it('may bring a removed file back until the directory is synced', async () => {
    const scenario = (synced: boolean) => async (seed: number) => {
      const { disk } = await diskWith(seed, filled(1, 1))
      await disk.remove('/a')
      if (synced) await disk.syncDirectory('/')
      return String(await disk.crash().exists('/a'))
    }
    expect([...(await outcomes(scenario(false))).keys()].sort()).toEqual(['false', 'true'])
    expect([...(await outcomes(scenario(true))).keys()]).toEqual(['false'])
  })

  it('takes a rename whole or not at all, and may lose it until the directory is synced', async () => {
    const scenario = (synced: boolean) => async (seed: number) => {
      const { disk } = await diskWith(seed, filled(1, 1))
      await disk.replaceFile('/b', filled(1, 2))
      await disk.rename('/a', '/b')
      if (synced) await disk.syncDirectory('/')
      const after = disk.crash()
      return `${await after.list('/')} b=${await after.readFile('/b')}`
    }
    expect([...(await outcomes(scenario(false))).keys()].sort()).toEqual(['a,b b=2', 'b b=1'])
    expect([...(await outcomes(scenario(true))).keys()]).toEqual(['b b=1'])
  })

  it('never keeps a rename of a file whose creation it lost, nor reorders changes to one name', async () => {
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      for (const name of ['/a', '/b']) await (await disk.open(name, 'create')).close()
      await disk.rename('/a', '/c')
      await disk.remove('/c')
      return (await disk.crash().list('/')).join()
    }, 1_000)
    expect([...counts.keys()].sort()).toEqual(['', 'a', 'a,b', 'b', 'b,c', 'c'])
  })

  it('never leaves a file under two names', async () => {
    const inTurn = await outcomes(async (seed) => {
      const { disk } = await diskWith(seed, filled(1, 1))
      await disk.rename('/a', '/b')
      await disk.rename('/b', '/c')
      return (await disk.crash().list('/')).join()
    })
    expect([...inTurn.keys()].sort()).toEqual(['a', 'b', 'c'])
    const across = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      for (const path of ['/x', '/y']) await disk.makeDirectory(path)
      await (await disk.open('/x/a', 'create')).close()
      await disk.rename('/x/a', '/y/b')
      await disk.syncDirectory('/y')
      const after = disk.crash()
      return `${await after.list('/x')}|${await after.list('/y')}`
    })
    expect([...across.keys()]).toEqual(['|b'])
  })

  it('may lose a directory with everything in it until its parent is synced', async () => {
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      await disk.makeDirectory('/safe')
      await disk.replaceFile('/safe/a', filled(1, 1))
      return (await disk.crash().readFile('/safe/a')).join()
    })
    expect([...counts.keys()]).toEqual(['1'])
    const crashed = await outcomes(async (seed) => {
      let after: SimulatedDisk | undefined
      const disk: SimulatedDisk = new SimulatedDisk({
        seed,
        onOperation({ phase, operation }) {
          if (!after && operation === 'syncDirectory' && phase === 'begin') after = disk.crash()
        },
      })
      void disk.makeDirectory('/new')
      while (!after) await new Promise((resolve) => setImmediate(resolve))
      return String(await after.exists('/new'))
    })
    expect([...crashed.keys()].sort()).toEqual(['false', 'true'])
  })

  it('leaves the old or the new content at whatever point it interrupts a replacement', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 40; seed++) {
      for (let point = 0; ; point++) {
        let passed = 0
        let after: SimulatedDisk | undefined
        const disk: SimulatedDisk = new SimulatedDisk({
          seed,
          onOperation() {
            if (armed && passed++ === point) after = disk.crash()
          },
        })
        let armed = false
        await disk.replaceFile('/a', filled(3_000, 1))
        armed = true
        const replaced = disk.replaceFile('/a', filled(2_000, 2)).then(() => true)
        while (!after && !(await Promise.race([replaced, tick()])));
        armed = false
        if (!after) break
        const content = await after.readFile('/a')
        seen.add(`${content[0]}x${content.byteLength}`)
        expect(new Set(content).size).toBe(1)
      }
    }
    expect([...seen].sort()).toEqual(['1x3000', '2x2000'])
  })

  it('ends the disk: later calls are refused, and the next process has the returned one', async () => {
    const { disk, file } = await diskWith(1, filled(1, 1))
    const after = disk.crash()
    for (const call of [
      file.read(new Uint8Array(1), 0),
      file.write([filled(1, 1)], 0),
      file.sync(),
      file.close(),
      disk.open('/a', 'read'),
      disk.list('/'),
    ]) {
      await expect(call).rejects.toMatchObject({ code: crashedCode })
    }
    expect(() => disk.crash()).toThrow(/crashed already/)
    expect(await after.list('/')).toEqual(['a'])
  })

  it('repeats itself for a seed', async () => {
    const run = async (seed: number): Promise<string> => {
      const disk = new SimulatedDisk({ seed })
      const file = await preallocate(disk)
      for (let at = 0; at < 16; at++) void file.write([filled(sectorBytes, at + 1)], at * sectorBytes)
      return sectors(await disk.crash().readFile('/segment')).join()
    }
    for (let seed = 0; seed < 20; seed++) expect(await run(seed)).toBe(await run(seed))
    expect(
      new Set(await Promise.all(Array.from({ length: 20 }, (_, seed) => run(seed)))).size,
    ).toBeGreaterThan(5)
  })

  it('takes the odds it is given: all lost, or all kept', async () => {
    for (let seed = 0; seed < 30; seed++) {
      for (const keep of [0, 1]) {
        const { disk, file } = await diskWith(seed, filled(4 * sectorBytes, 0))
        await file.write([filled(4 * sectorBytes, 1)], 0)
        await disk.remove('/a')
        await disk.rename('/b', '/a').catch(() => {})
        const after = disk.crash({ keep })
        if (keep === 1) expect(await after.exists('/a')).toBe(false)
        else expect(sectors(await after.readFile('/a'))).toEqual([0, 0, 0, 0])
      }
    }
  })
})

describe('a killed process on the simulated disk', () => {
  it('leaves its unsynced writes to the next one, and a later crash may still take them', async () => {
    const counts = await outcomes(async (seed) => {
      const { disk, file } = await diskWith(seed, filled(sectorBytes, 1))
      await file.write([filled(sectorBytes, 2)], 0)
      const next = disk.kill()
      expect(sectors(await next.readFile('/a'))).toEqual([2])
      expect(next.unsynced()).toEqual(['/a'])
      return sectors(await next.crash().readFile('/a')).join()
    })
    expect([...counts.keys()].sort()).toEqual(['1', '2'])
  })

  it('may leave a durable write that never returned readable and yet not on disk', async () => {
    const counts = await outcomes(async (seed) => {
      const disk = new SimulatedDisk({ seed })
      const file = await preallocate(disk)
      void file.write([filled(sectorBytes, 2)], 0)
      const next = disk.kill()
      const read = sectors(await next.readFile('/segment'))[0]
      const after = sectors(await next.crash().readFile('/segment'))[0]
      return `read ${read}, after the crash ${after}`
    })
    expect([...counts.keys()].sort()).toEqual([
      'read 0, after the crash 0',
      'read 2, after the crash 0',
      'read 2, after the crash 2',
    ])
  })

  it('lets the next process make durable what it finds, with a sync of its own', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const { disk, file } = await diskWith(seed, filled(sectorBytes, 1))
      await file.write([filled(sectorBytes, 2)], 0)
      await disk.rename('/a', '/b')
      const next = disk.kill()
      await (await next.open('/b', 'readWrite')).sync()
      await next.syncDirectory('/')
      expect(next.unsynced()).toEqual([])
      expect(sectors(await next.crash().readFile('/b'))).toEqual([2])
    }
  })
})

describe('faults of the simulated disk', () => {
  it('fails the operation it was told, on the path it was told, once', async () => {
    const { disk, file } = await diskWith(1, filled(1, 1))
    disk.failNext({ operation: 'write', path: /^\/a$/, code: 'EIO', skip: 1 })
    disk.failNext({ operation: 'rename', path: /other/, code: 'EIO' })
    await file.write([filled(1, 2)], 0)
    await expect(file.write([filled(1, 2)], 0)).rejects.toMatchObject({
      code: 'EIO',
      path: '/a',
      operation: 'write',
    })
    await file.write([filled(1, 2)], 0)
    await disk.rename('/a', '/b')
  })

  it('never brings to disk what a failed sync covered, though reads show it and the next sync succeeds', async () => {
    const { disk, file } = await diskWith(1, filled(sectorBytes, 1))
    await file.write([filled(sectorBytes, 2)], 0)
    disk.failNext({ operation: 'sync', code: 'EIO' })
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    await file.sync()
    expect(sectors(await disk.readFile('/a'))).toEqual([2])
    expect(sectors(await disk.crash({ keep: 0 }).readFile('/a'))).toEqual([1])
  })

  it('may carry out a part of a write that fails', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const disk = new SimulatedDisk({ seed })
      const durable = await preallocate(disk)
      disk.failNext({ operation: 'write', code: 'EIO' })
      await expect(durable.write([filled(segmentBytes, 2)], 0)).rejects.toMatchObject({ code: 'EIO' })
      // The kernel forgot the pages: they are what a retried fsync reports as written.
      await durable.sync()
      expect(sectors(await disk.crash({ keep: 0 }).readFile('/segment'))).toEqual(Array(16).fill(0))
    }
    const { disk, file } = await diskWith(5, filled(10, 0))
    disk.failNext({ operation: 'write', code: 'EIO' })
    await file.write([filled(1_000, 1)], 0).catch(() => {})
    const written = (await disk.readFile('/a')).filter((byte) => byte === 1).byteLength
    expect(written > 0 && written < 1_000).toBe(true)
  })

  it('is full at its capacity, takes writes to preallocated files all the same, and frees what is removed', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 10 * 4096 })
    const file = await preallocate(disk, '/segment', 8 * 4096)
    expect(await disk.freeBytes('/')).toBe(2 * 4096)
    const other = await disk.open('/other', 'create')
    await expect(other.write([filled(3 * 4096, 1)], 0)).rejects.toMatchObject({
      code: 'ENOSPC',
      path: '/other',
    })
    await file.write([filled(8 * 4096, 1)], 0)
    await disk.remove('/other')
    expect(await disk.freeBytes('/')).toBe(2 * 4096)
  })

  it('flips one bit, for reads and for good', async () => {
    const { disk } = await diskWith(1, filled(3, 0))
    disk.flipBit('/a', 1, 7)
    expect([...(await disk.readFile('/a'))]).toEqual([0, 128, 0])
    expect([...(await disk.crash().readFile('/a'))]).toEqual([0, 128, 0])
  })

  it('gives back a bit wrong until it is mended, or its byte is written again', async () => {
    const { disk, file } = await diskWith(1, filled(3, 0))
    disk.rot('/a', 1, 7)
    disk.rot('/a', 2, 0)
    expect([...(await disk.readFile('/a'))]).toEqual([0, 128, 1])
    await file.write([filled(1, 5)], 2)
    await file.sync()
    const bytes = filled(2, 0)
    expect([await file.read(bytes, 1), ...bytes]).toEqual([2, 128, 5])
    const next = disk.crash()
    expect([...(await next.readFile('/a'))]).toEqual([0, 128, 5])
    next.mend()
    expect([...(await next.readFile('/a'))]).toEqual([0, 0, 5])
  })

  it('knows what the last writes brought, and what they have gone past', async () => {
    const { disk, file } = await diskWith(1, filled(0, 0))
    const settled = (): number | undefined => disk.files().find(({ path }) => path === '/a')?.settledBytes
    for (const position of [0, 10, 20]) await file.write([filled(10, 1)], position)
    expect(settled()).toBe(0)
    for (const position of [30, 40, 50]) await file.write([filled(10, 1)], position)
    expect(settled()).toBe(20)
  })

  it('notices a buffer that is changed while its write is under way', async () => {
    const { file } = await diskWith(1, filled(3, 0))
    const buffer = filled(3, 1)
    const write = file.write([filled(1, 0), buffer], 0)
    buffer[2] = 9
    await expect(write).rejects.toThrow(/changed while the write was under way/)
  })

  it('takes its time by the clock it is given', async () => {
    const clock = new ManualClock()
    const disk = new SimulatedDisk({ latency: { clock, msMin: 5, msMax: 10 } })
    let exists: boolean | undefined
    void disk.exists('/').then((answer) => {
      exists = answer
    })
    await clock.advanceAndSettle(4.9)
    expect(exists).toBeUndefined()
    await clock.advanceAndSettle(5.1)
    expect(exists).toBe(true)
  })

  it('goes to a real directory and comes back', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'millrace-dump-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const { disk, file } = await diskWith(1, filled(5_000, 1))
    await disk.makeDirectory('/d/e')
    await disk.replaceFile('/d/e/b', filled(3, 2))
    await file.write([filled(5_000, 3)], 0)
    await disk.dump(join(directory, 'durable'), 'durable')
    await disk.dump(join(directory, 'cached'))
    expect(readFileSync(join(directory, 'durable', 'a'))).toEqual(Buffer.alloc(5_000, 1))
    const loaded = await SimulatedDisk.load(join(directory, 'cached'))
    expect(loaded.unsynced()).toEqual([])
    const after = loaded.crash({ keep: 0 })
    expect(Buffer.from(await after.readFile('/a'))).toEqual(Buffer.alloc(5_000, 3))
    expect([...(await after.readFile('/d/e/b'))]).toEqual([2, 2, 2])
  })
})

function tick(): Promise<false> {
  return new Promise((resolve) => setImmediate(resolve, false as const))
}
