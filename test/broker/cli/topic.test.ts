import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cli, type Finished, millrace, startBrokerProcess } from '../../support/cli.js'

let directory: string
let broker: { cli: Cli; url: string }
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-topic-'))
  broker = await startBrokerProcess(directory)
})
afterAll(async () => {
  broker.cli.kill('SIGKILL')
  await broker.cli.finished
  rmSync(directory, { recursive: true })
})

const run = (...argv: string[]): Promise<Finished> => millrace(argv, { env: { MILLRACE_URL: broker.url } })

/** What a run printed, as one value to compare. */
async function said(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await run(...argv)
  return { code, stdout: stdout.toString(), stderr }
}

const done = (stdout: string) => ({ code: 0, stdout, stderr: '' })
const failed = (line: string, code = 1) => ({ code, stdout: '', stderr: `millrace: ${line}\n` })

describe('millrace topic', () => {
  it('creates, lists, describes and deletes', async () => {
    expect(await said('topic', 'list')).toEqual(done(''))
    expect(await said('topic', 'create', 'plain')).toEqual(done('created topic plain\n'))
    const encodings = ['--key-encoding', 'bytes', '--value-encoding', 'json']
    await run('topic', 'create', 'other', '--partitions', '3', ...encodings)

    const list = (await said('topic', 'list')).stdout.trim().split('\n')
    expect(list.map((line) => line.split(/ +/).slice(0, 4))).toEqual([
      ['NAME', 'PARTITIONS', 'KEY', 'VALUE'],
      ['other', '3', 'bytes', 'json'],
      ['plain', '1', 'text', 'text'],
    ])

    await millrace(['produce', 'plain'], { env: { MILLRACE_URL: broker.url }, input: 'a\nb\n' })
    expect((await said('topic', 'describe', 'plain')).stdout).toMatch(
      /^topic plain: id [0-9a-f]{32}, key text, value text, created 20\S+Z\nkeeps all records; dedup window 10 min\nPARTITION {2}START {2}END {2}OFFSETS\n +0 +0 +2 +2\n$/,
    )

    expect(await said('topic', 'delete', 'plain', '--yes')).toEqual(done('deleted topic plain\n'))
    expect((await said('topic', 'list', '--json')).stdout.split('\n')).toHaveLength(2)
  })

  it('prints JSON for programs', async () => {
    await run('topic', 'create', 'json', '--partitions', '2')
    const described = JSON.parse((await said('topic', 'describe', 'json', '--json')).stdout)
    const info = {
      name: 'json',
      topicId: expect.stringMatching(/^[0-9a-f]{32}$/),
      keyEncoding: 'text',
      valueEncoding: 'text',
      createdAt: expect.stringMatching(/^20.*Z$/),
      retention: {
        maxAgeMs: null,
        maxBytes: null,
        untilAcked: false,
        cursorIdleMs: null,
        maxLagBytes: null,
        onLag: 'keep',
      },
      dedupWindowMs: 600_000,
      publicCache: false,
      internal: false,
    }
    const partitions = [0, 1].map((partition) => ({ partition, startOffset: 0, endOffset: 0 }))
    expect(described).toEqual({ ...info, partitions })
    const listed = (await said('topic', 'list', '--json')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(listed).toContainEqual({ ...info, partitions: 2 })
  })

  it('creates a topic that exists only with --if-missing, and only if it is the same', async () => {
    await run('topic', 'create', 'twice')
    expect(await said('topic', 'create', 'twice')).toEqual(failed('topic "twice" exists (TOPIC_EXISTS)'))
    expect(await said('topic', 'create', 'twice', '--if-missing')).toEqual(done('topic twice exists\n'))
    const other = await said('topic', 'create', 'twice', '--if-missing', '--partitions', '2')
    expect(other).toEqual(failed('topic "twice" has partitions 1, not 2 (TOPIC_MISMATCH)'))
  })

  it('lists topics of the broker itself only with --internal', async () => {
    expect((await said('topic', 'list')).stdout).not.toContain('_millrace')
    expect((await said('topic', 'list', '--internal')).stdout).toMatch(/^_millrace\.changes +1 +text +json /m)
  })

  it("tells what happened to a topic in a topic of the broker's own", async () => {
    await run('topic', 'create', 'told')
    const changes = (await said('consume', '_millrace.changes', '--exit-at-end')).stdout.trim().split('\n')
    expect(changes.map((line) => JSON.parse(line))).toContainEqual(
      expect.objectContaining({ type: 'topicCreated', topic: 'told' }),
    )
    expect(await said('topic', 'delete', '_millrace.changes', '--yes')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('(TOPIC_READ_ONLY)'),
    })
  })

  it('sets options at creation, and alters them one by one', async () => {
    await run('topic', 'create', 'kept7d', '--max-age', '7d', '--until-acked', '--dedup-window', '1h')
    const options = async () => (await said('topic', 'describe', 'kept7d')).stdout.split('\n')[1]
    expect(await options()).toBe('keeps up to 7 d, until acknowledged; dedup window 1 h')
    expect(await said('topic', 'alter', 'kept7d', '--max-bytes', '1GiB', '--no-max-age')).toEqual(
      done('altered topic kept7d: keeps up to 1 GiB a partition, until acknowledged; dedup window 1 h\n'),
    )
    const lag = ['--max-lag-bytes', '1MiB', '--on-lag', 'drop', '--cursor-idle', '1d']
    await run('topic', 'alter', 'kept7d', '--no-until-acked', '--no-max-bytes', ...lag)
    expect(await options()).toBe(
      'keeps idle cursors up to 1 d, lag up to 1 MiB (then drop); dedup window 1 h',
    )
  })

  it("alters nothing that is not named, not there or the broker's own", async () => {
    expect(await said('topic', 'alter', 'any')).toEqual(
      failed('nothing to change: name an option, such as --max-age 7d', 2),
    )
    expect(await said('topic', 'alter', 'gone', '--max-age', '7d')).toEqual(
      failed('there is no topic "gone" (UNKNOWN_TOPIC)'),
    )
    const own = await said('topic', 'alter', '_millrace.changes', '--max-age', '7d')
    expect(own).toMatchObject({ code: 1, stderr: expect.stringContaining('(TOPIC_READ_ONLY)') })
  })

  it('deletes the records below an offset, not without being sure', async () => {
    await millrace(['produce', 'cut'], { env: { MILLRACE_URL: broker.url }, input: 'a\nb\nc\n' })
    const cut = (...argv: string[]) => said('topic', 'delete-before', 'cut', '--partition', '0', ...argv)
    expect(await cut('--offset', '2')).toEqual(
      failed(
        'deleting the records below offset 2 of topic cut partition 0 needs --yes: stdin is no terminal, so there is nobody to ask',
        2,
      ),
    )
    expect(await cut('--offset', '2', '--yes')).toEqual(
      done('deleted 2 records: topic cut partition 0 starts at offset 2 now\n'),
    )
    expect((await said('consume', 'cut', '--exit-at-end')).stdout).toBe('c\n')
    expect(await cut('--offset', '1', '-y')).toEqual(
      done('deleted 0 records: topic cut partition 0 starts at offset 2 now\n'),
    )
    expect(await cut('--offset', '9', '-y')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('(OFFSET_OUT_OF_RANGE)'),
    })
    expect((await cut('--offset', 'end', '-y')).stdout).toContain('starts at offset 3 now')
    expect((await said('consume', 'cut', '--exit-at-end')).stdout).toBe('')
    expect(await cut('--offset', 'begin', '-y')).toMatchObject({ code: 2 })
  })

  it('deletes nothing without --yes when there is nobody to ask', async () => {
    await run('topic', 'create', 'kept')
    const refused = 'deleting kept needs --yes: stdin is no terminal, so there is nobody to ask'
    expect(await said('topic', 'delete', 'kept')).toEqual(failed(refused, 2))
    expect((await run('topic', 'describe', 'kept')).code).toBe(0)
  })

  it('deletes a topic that does not exist only with --if-exists', async () => {
    expect(await said('topic', 'delete', 'gone', '-y')).toEqual(
      failed('there is no topic "gone" (UNKNOWN_TOPIC)'),
    )
    expect(await said('topic', 'delete', 'gone', '-y', '--if-exists')).toEqual(
      done('there is no topic gone\n'),
    )
  })

  it('refuses what makes no sense in one line, with exit code 2', async () => {
    expect(await said('topic', 'create', 'x', '--partitions', '0')).toEqual(
      failed("option '--partitions <n>' argument '0' is invalid. It must be a whole number, 1 or more.", 2),
    )
    expect(await said('topic', 'create', 'x', '--key-encoding', 'xml')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Allowed choices are bytes, text, json, msgpack.'),
    })
    expect(await said('topic', 'list', '--url', 'http://here')).toEqual(
      failed('--url is "http://here", but must be an address such as ws://127.0.0.1:4600', 2),
    )
    expect((await said('topic')).code).toBe(2)
  })

  it('names the address when there is no broker', async () => {
    const { code, stderr } = await millrace(['topic', 'list', '--url', 'ws://127.0.0.1:1'])
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^millrace: no broker at ws:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*; start one with.*\n$/,
    )
  })

  it('prints stack traces with --verbose only', async () => {
    expect((await said('topic', 'describe', 'gone')).stderr).not.toContain('    at ')
    expect((await said('topic', 'describe', 'gone', '--verbose')).stderr).toContain('    at ')
  })
})
