import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { ChunkWriter } from '../../../broker/chunks/chunk-writer.js'
import { chunkIdOf, type OwnedSection } from '../../../broker/chunks/format.js'
import { verifyChunk } from '../../../broker/chunks/verify-chunk.js'
import type { VerifyReport } from '../../../broker/offline/report.js'
import { verifyDirectory } from '../../../broker/offline/verify.js'
import { lockDirectory } from '../../../broker/platform/directory-lock.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { layoutOf, readIdentity } from '../../../broker/shard/layout.js'
import type { WalIdentity } from '../../../broker/wal/position.js'
import { filesIn, flip, flipManifestValue, type GroupPlace, groupsOf } from '../../support/damage.js'
import { storedEntry } from '../../support/entries.js'
import { type SmallDataDirectory, SmallDirectories } from '../../support/small-data-directory.js'

const directories = new SmallDirectories()
let made: SmallDataDirectory | undefined

afterEach(async () => {
  await made?.remove()
  made = undefined
})

afterAll(() => directories.remove())

async function make(stop: 'clean' | 'killed'): Promise<string> {
  made = await directories.copy(stop)
  return made.directory
}

const verify = (directory: string): Promise<VerifyReport> => verifyDirectory({ disk: nodeDisk, directory })

/** SHA-256 of every file but those of locks. */
async function hashes(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || entry.name === 'LOCK' || entry.name === 'lock.mdb') continue
    found[path] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
  }
  return found
}

describe('verifyDirectory', () => {
  test.each(['clean', 'killed'] as const)(
    'finds nothing wrong after a %s stop, and changes nothing',
    async (stop) => {
      const directory = await make(stop)
      const before = await hashes(directory)
      const report = await verify(directory)
      expect(report).toMatchObject({ status: 'clean', faults: [], tornTail: undefined, notes: [] })
      const records = Object.values(made?.contents.records ?? {}).flat().length
      expect(report.counts).toMatchObject({ topics: 3, partitions: 5, records, chunks: 4 })
      expect(report.counts.walGroups).toBe((await groupsOf(directory)).length)
      expect(await hashes(directory)).toEqual(before)
    },
  )

  test('refuses a path that is no data directory, and leaves nothing there', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'millrace-none-'))
    try {
      await expect(verify(join(directory, 'missing'))).rejects.toThrow(/there is no directory/)
      await writeFile(join(directory, 'letter.txt'), 'dear')
      await expect(verify(directory)).rejects.toMatchObject({ name: 'NotADataDirectoryError' })
      expect(await readdir(directory)).toEqual(['letter.txt'])
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test('refuses a directory that a broker has open', async () => {
    const directory = await make('clean')
    const lock = await lockDirectory(directory)
    await expect(verify(directory)).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
    await lock.release()
    expect((await verify(directory)).status).toBe('clean')
  })

  test('calls damage to the last group, which nothing proves, a torn tail', async () => {
    const directory = await make('killed')
    const last = (await groupsOf(directory)).at(-1) as GroupPlace
    await flip(last.file, last.position + 20)
    const report = await verify(directory)
    expect(report).toMatchObject({ status: 'tornTail', faults: [] })
    expect(report.tornTail).toMatchObject({ file: last.file, byteOffset: last.position })
    expect(report.counts.records).toBe(Object.values(made?.contents.records ?? {}).flat().length)
  })

  test('calls the same damage corruption where a clean stop has vouched for the group', async () => {
    const directory = await make('clean')
    const last = (await groupsOf(directory)).at(-1) as GroupPlace
    await flip(last.file, last.position + 20)
    const report = await verify(directory)
    expect(report.status).toBe('corrupt')
    expect(report.faults).toEqual([
      {
        file: last.file,
        byteOffset: last.position,
        reason: expect.stringMatching(/last clean stop was after group/),
      },
    ])
  })

  test('names every damaged part, each with its file', async () => {
    const directory = await make('killed')
    const [firstChunk, secondChunk] = await filesIn(directory, 'chunks')
    const snapshot = (await filesIn(directory, 'snapshots'))[0] as string
    const group = (await groupsOf(directory))[30] as GroupPlace
    await flip(group.file, group.position + 140)
    await flip(firstChunk as string, 200)
    await rm(secondChunk as string)
    await flip(snapshot, 100)
    await flipManifestValue(directory, 3)
    await flipManifestValue(directory, 4)
    const { status, faults } = await verify(directory)
    expect(status).toBe('corrupt')
    const data = join(directory, 'manifest/data.mdb')
    expect(faults.map(({ file }) => file).sort()).toEqual(
      [firstChunk, data, data, snapshot, group.file].sort(),
    )
    expect(faults.find(({ file }) => file === firstChunk)?.byteOffset).toBe(64)
    const inWal = faults.find(({ file }) => file === group.file)
    expect(inWal?.reason).toMatch(new RegExp(`^group ${group.header.sequence}: `))
    expect(faults.filter(({ file }) => file === data).map(({ reason }) => reason.split(' ')[0])).toEqual([
      'topic',
      'partition',
    ])
  })

  test('misses a chunk file that records are in', async () => {
    const directory = await make('clean')
    const [, chunk] = await filesIn(directory, 'chunks')
    await rm(chunk as string)
    expect((await verify(directory)).faults).toEqual([
      { file: chunk, byteOffset: 0, reason: 'the file is missing' },
    ])
  })

  test('finds a whole chunk that is not the one that the manifest means', async () => {
    const directory = await make('clean')
    const [first, second] = await filesIn(directory, 'chunks')
    await writeFile(second as string, await readFile(first as string))
    expect((await verify(directory)).faults).toEqual([
      { file: second, byteOffset: 0, reason: expect.stringMatching(/^it is the file of chunk/) },
    ])
  })

  test('finds a chunk that is sound in itself and holds other records than the manifest says', async () => {
    const directory = await make('clean')
    const [path] = await filesIn(directory, 'chunks')
    const chunks = { disk: nodeDisk, directory: join(directory, 'chunks') }
    const chunkId = chunkIdOf(basename(path as string)) as number
    const { sections } = await verifyChunk({ ...chunks, chunkId })
    const [{ topicId, partition, section }] = sections as [OwnedSection]
    const { clusterId } = (await readIdentity(nodeDisk, layoutOf(directory))) as WalIdentity
    await rm(path as string)
    const writer = await ChunkWriter.create({ ...chunks, chunkId, clusterId })
    writer.beginSection({ topicId, partition })
    const lastOffsetDelta = section.endOffset - section.baseOffset - 1
    const { bytes, header } = storedEntry({
      topicId,
      partition,
      baseOffset: section.baseOffset,
      lastOffsetDelta,
    })
    await writer.append(bytes, header)
    await writer.endSection()
    await writer.finish()
    expect((await verify(directory)).faults).toEqual([
      { file: path, byteOffset: 64, reason: expect.stringMatching(/^the manifest says byteEnd/) },
    ])
  })

  test('tells damage to the identity from a foreign WAL, and a damaged clean-stop marker from a lost end', async () => {
    const directory = await make('clean')
    const identity = join(directory, 'identity.json')
    const marker = join(directory, 'clean-stop.json')
    await writeFile(
      identity,
      (await readFile(identity, 'utf8')).replace(
        /("walId":")(.)/,
        (_, name, digit) => name + (digit === '0' ? '1' : '0'),
      ),
    )
    await writeFile(marker, (await readFile(marker, 'utf8')).replace(/"sequence":/, '"sequence":1'))
    const { faults, counts } = await verify(directory)
    expect(faults.map(({ file }) => file)).toEqual([identity, marker])
    expect(counts.topics).toBe(3)
  })

  test('names a manifest that was lost, not the WAL that outlived it', async () => {
    const directory = await make('clean')
    await rm(join(directory, 'manifest'), { recursive: true })
    for (const path of (await filesIn(directory, 'wal')).slice(0, 2)) await rm(path)
    const { faults } = await verify(directory)
    expect(faults[0]).toMatchObject({
      file: join(directory, 'manifest'),
      reason: expect.stringMatching(/missing or empty/),
    })
  })

  test('notes what a start would sweep and what is none of its own, as no fault', async () => {
    const directory = await make('clean')
    const [chunk] = await filesIn(directory, 'chunks')
    const stray = join(directory, 'chunks/00000001000000ff.chunk')
    await writeFile(stray, await readFile(chunk as string))
    await writeFile(join(directory, 'wal/0000000000000001.wal.4096.broken'), 'cut')
    await writeFile(join(directory, 'README'), 'mine')
    const { status, notes } = await verify(directory)
    expect(status).toBe('clean')
    expect(notes).toEqual([
      `${stray}: nothing refers to this file, the next start removes it`,
      `${join(directory, 'wal/0000000000000001.wal.4096.broken')}: a copy of what a start or a repair has cut`,
      `${join(directory, 'README')}: this file is none of Millrace`,
    ])
  })

  test('says that there is nothing yet where a first start was cut short', async () => {
    const directory = await make('clean')
    for (const name of await readdir(directory))
      if (name !== 'wal') await rm(join(directory, name), { recursive: true })
    for (const path of (await filesIn(directory, 'wal')).slice(1)) await rm(path)
    const { status, notes } = await verify(directory)
    expect(status).toBe('clean')
    expect(notes[0]).toMatch(/first start/)
  })
})
