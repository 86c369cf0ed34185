import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { run } from '../../../broker/cli/program.js'
import { lockDirectory } from '../../../broker/platform/directory-lock.js'
import { filesIn, flip, type GroupPlace, groupsOf } from '../../support/damage.js'
import { type SmallDataDirectory, SmallDirectories } from '../../support/small-data-directory.js'

const directories = new SmallDirectories()
let made: SmallDataDirectory

beforeEach(async () => {
  made = await directories.copy('killed')
})

afterEach(() => made.remove())
afterAll(() => directories.remove())

/** Runs one command line; returns its exit code and what it printed. */
async function millrace(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const printed = { out: '', err: '' }
  const catching = (key: 'out' | 'err') => (text: unknown) => {
    printed[key] += String(text)
    return true
  }
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(catching('out')),
    vi.spyOn(process.stderr, 'write').mockImplementation(catching('err')),
  ]
  try {
    return { code: await run(argv), ...printed }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

test('verify says that a directory is clean, and exits with 0', async () => {
  const { code, out, err } = await millrace('verify', made.directory)
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(out).toMatch(
    /^clean; 3 topics, 5 partitions, 147 records, 4 chunks, \d+ WAL groups, 0\.\d MiB read\n$/,
  )
})

test('verify says a torn tail, and exits with 0', async () => {
  const last = (await groupsOf(made.directory)).at(-1) as GroupPlace
  await flip(last.file, last.position + 20)
  const { code, out } = await millrace('verify', made.directory)
  expect(code).toBe(0)
  expect(out).toContain(`torn tail: ${last.file} at byte ${last.position}: `)
})

test('verify says file, byte and cause of each fault on a line, and exits with 1', async () => {
  const [first, second] = await filesIn(made.directory, 'chunks')
  await flip(first as string, 300)
  await rm(second as string)
  const { code, out, err } = await millrace('verify', made.directory)
  expect(code).toBe(1)
  expect(out.split('\n').slice(0, 2)).toEqual([
    `corrupt: ${first} at byte 64: the CRC of an entry's payload does not match`,
    `corrupt: ${second} at byte 0: the file is missing`,
  ])
  expect(err).toMatch(/^millrace: .* is damaged: `millrace repair` says what can be brought back\n$/)
})

test('verify prints its report as JSON', async () => {
  const { code, out } = await millrace('verify', made.directory, '--json')
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ status: 'clean', faults: [], counts: { topics: 3 } })
})

test('verify exits with 2 where there is no data directory, and with 1 where a broker runs', async () => {
  const other = await mkdtemp(join(tmpdir(), 'millrace-other-'))
  expect(await millrace('verify', other)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/is no data directory/),
  })
  await rm(other, { recursive: true })
  const lock = await lockDirectory(made.directory)
  expect(await millrace('verify', made.directory)).toMatchObject({
    code: 1,
    err: expect.stringMatching(/is in use by process/),
  })
  await lock.release()
})

test('repair says what it would do and what is lost, and does it only when told to', async () => {
  const groups = await groupsOf(made.directory)
  const audit = made.contents.topics.find(({ name }) => name === 'audit')
  const group = groups.findLast(({ rows }) =>
    rows.some(({ topicId }) => topicId === audit?.topicId),
  ) as GroupPlace
  await flip(group.file, group.position + (group.rows[0]?.byteStart ?? 0) + 115)
  const dry = await millrace('repair', made.directory, '--dry-run')
  expect(dry).toMatchObject({ code: 1, err: 'millrace: nothing was changed\n' })
  expect(dry.out).toMatch(
    /^corrupt: .*\nrepair: write the manifest anew, .*\nrepair: move what the WAL still holds .*\nlost: topic audit partition 0: offset 2, 1 record\n$/,
  )
  expect(await millrace('repair', made.directory)).toMatchObject({
    code: 1,
    err: expect.stringMatching(/say --yes/),
  })
  const done = await millrace('repair', made.directory, '--yes')
  expect(done.code).toBe(0)
  expect(done.out).toContain('kept: wal.1.broken\n')
  expect(done.out).toMatch(/\nclean; 3 topics, 5 partitions, 146 records/)
  expect(await millrace('repair', made.directory)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^note: .*\nclean; /s),
  })
})
