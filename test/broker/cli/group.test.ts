import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../../client/index.js'
import { Cli, millrace, startBrokerProcess } from '../../support/cli.js'

let directory: string
let broker: { cli: Cli; url: string }
let client: Client
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-group-'))
  broker = await startBrokerProcess(directory)
  client = connect(broker.url)
})
afterAll(async () => {
  await client.close()
  broker.cli.kill('SIGKILL')
  await broker.cli.finished
  rmSync(directory, { recursive: true })
})

const env = () => ({ MILLRACE_URL: broker.url })
const start = (...argv: string[]): Cli => new Cli(argv, { env: env() })

/** What a run printed, as one value to compare. */
async function said(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await millrace(argv, { env: env() })
  return { code, stdout: stdout.toString(), stderr }
}

/** What is not looked at here goes without a process of its own. */
async function produce(name: string, values: readonly unknown[], partitions?: number): Promise<void> {
  const topic = defineTopic({ name, key: text(), value: text() })
  await client.ensureTopic(topic, partitions === undefined ? {} : { partitions })
  const producer = client.producer(topic)
  for (const value of values) await producer.enqueue({ key: `${value}`, value: `${value}` })
  await producer.close()
}

/** Where the group is in partition 0 of its only topic; undefined as long as it has no cursor there. */
const position = (group: string): Promise<number | undefined> =>
  client.groups.describe(group).then(
    ({ partitions: [first] }) => (first?.hasCursor ? first.position : undefined),
    () => undefined,
  )

const done = (stdout: string) => ({ code: 0, stdout, stderr: '' })
const failed = (line: string, code = 1) => ({ code, stdout: '', stderr: `millrace: ${line}\n` })
const table = (...rows: string[]) => rows.map((row) => `${row}\n`).join('')

describe('millrace consume --group', () => {
  it('goes on where the group is, in another process too', async () => {
    await produce('resumed', [0, 1, 2, 3, 4])
    const consume = (...argv: string[]) => said('consume', 'resumed', '--group', 'resumed', ...argv)
    expect(await consume('--count', '2')).toEqual(done('0\n1\n'))
    expect(await consume('--exit-at-end')).toEqual(done('2\n3\n4\n'))
    expect(await consume('--exit-at-end')).toEqual(done(''))
    await produce('resumed', [5])
    expect(await consume('--count', '1')).toEqual(done('5\n'))
  })

  it('begins where --from says when the group has no cursor, and follows', async () => {
    await produce('followed', ['old'])
    const following = start('consume', 'followed', '--group', 'followed', '--from', 'latest')
    await expect.poll(() => position('followed')).toBe(1)
    await produce('followed', ['new'])
    await following.seen(/new\n/)
    following.kill('SIGINT')
    const { code, stdout, stderr } = await following.finished
    expect({ code, stdout: stdout.toString(), stderr }).toEqual(done('new\n'))
    expect(await position('followed')).toBe(2)
  })

  it('shares the partitions among members, and what each prints is the whole together', async () => {
    const lines = Array.from({ length: 2000 }, (_, i) => i)
    await produce('shared', lines, 4)
    const member = () => start('consume', 'shared', '--group', 'shared', '--exit-at-end').finished
    const printed = (await Promise.all([member(), member()])).map(({ stdout }) => stdout.toString())
    const values = printed.join('').trim().split('\n').map(Number)
    expect(values.toSorted((a, b) => a - b)).toEqual(lines)
  })

  it('leaves what was not printed unacknowledged when its reader has enough', async () => {
    await produce(
      'headed',
      Array.from({ length: 300_000 }, (_, i) => `line ${i}`),
    )
    const consuming = start('consume', 'headed', '--group', 'headed')
    await consuming.seen(/line 0\n/)
    consuming.process.stdout?.destroy()
    expect(await consuming.finished).toMatchObject({ code: 0, stderr: '' })
    expect(await position('headed')).toBeLessThan(300_000)
  })

  it('refuses a place of its own', async () => {
    const refuse = (...argv: string[]) => said('consume', 'any', '--group', 'g', ...argv)
    expect(await refuse('--partition', '0')).toEqual(
      failed('--group and --partition: the broker says which partitions a member of a group gets', 2),
    )
    expect(await refuse('--from', '2026-11-01')).toEqual(
      failed(
        '--from with --group is earliest or latest, for partitions without a cursor; "millrace group reset" moves cursors',
        2,
      ),
    )
  })
})

describe('millrace group', () => {
  it('lists and describes', async () => {
    await produce('listed', ['a', 'bb', 'ccc'])
    await said('consume', 'listed', '--group', 'listed', '--count', '1')
    const row = (await said('group', 'list')).stdout.split('\n').find((line) => line.startsWith('listed '))
    expect(row?.split(/ +/)).toEqual(['listed', 'consumer', '0', '1', '2'])
    const listed = (await said('group', 'list', '--json')).stdout.trim().split('\n')
    expect(listed.map((line) => JSON.parse(line))).toContainEqual({
      name: 'listed',
      kind: 'consumer',
      members: 0,
      topics: 1,
      lagRecords: 2,
    })
    expect((await said('group', 'describe', 'listed')).stdout).toMatch(
      /^group listed: consumer group, without members, epoch \d+\n\nTOPIC +PARTITION .*\nlisted +0 +1 +3 +2 +\d+ +\d+ +-\n$/,
    )
    const described = JSON.parse(
      (await said('group', 'describe', 'listed', '--topic', 'listed', '--json')).stdout,
    )
    expect(described).toMatchObject({ name: 'listed', kind: 'consumer', isActive: false, members: [] })
    expect(described.partitions).toEqual([
      expect.objectContaining({ topic: 'listed', partition: 0, position: 1, endOffset: 3 }),
    ])
    expect(described.partitions[0].lag).toEqual({
      records: 2,
      bytes: expect.any(Number),
      seconds: expect.any(Number),
    })
  })

  it('shows who is connected', async () => {
    await produce('watched', ['a'])
    const member = start('consume', 'watched', '--group', 'watched')
    await member.seen(/a\n/)
    await expect.poll(() => position('watched')).toBe(1)
    expect((await said('group', 'describe', 'watched')).stdout).toMatch(
      /^group watched: consumer group, active, epoch \d+\n\nMEMBER .*\n(\w{8}) +millrace-cli +connected +1\n\nTOPIC.*\nwatched +0 +1 +1 +0 +0 +0 +\1\n$/,
    )
    member.kill('SIGINT')
    await member.finished
  })

  it('moves cursors, and with --dry-run only says where', async () => {
    await produce('moved', [0, 1, 2])
    const drain = async () => (await said('consume', 'moved', '--group', 'moved', '--exit-at-end')).stdout
    await drain()
    await new Promise((resolve) => setTimeout(resolve, 20))
    const time = new Date().toISOString()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await produce('moved', [3, 4])
    await drain()

    const moves = (from: number, to: number) =>
      table('TOPIC  PARTITION  FROM  TO', `moved          0     ${from}   ${to}`)
    const reset = (...argv: string[]) => said('group', 'reset', 'moved', ...argv)
    expect(await reset('--to', 'earliest', '--dry-run')).toEqual(done(`${moves(5, 0)}nothing was changed\n`))
    expect(await drain()).toBe('')
    expect(await reset('--to', time)).toEqual(done(moves(5, 3)))
    expect(await drain()).toBe('3\n4\n')
    expect(await reset('--topic', 'moved', '--partition', '0', '--to', '1')).toEqual(done(moves(5, 1)))
    expect(await reset('--to', 'latest', '--json')).toEqual(
      done('{"topic":"moved","partition":0,"from":1,"to":5}\n'),
    )
    expect(await drain()).toBe('')
  })

  it('makes a group that is not there only with --create', async () => {
    await produce('made', [0, 1, 2], 2)
    const reset = (...argv: string[]) =>
      said('group', 'reset', 'made', '--topic', 'made', '--to', 'latest', ...argv)
    expect(await reset()).toEqual(failed('there is no group "made" (UNKNOWN_GROUP)'))
    expect((await reset('--create')).stdout).toMatch(/^TOPIC .*\nmade +0 +- +\d\nmade +1 +- +\d\n$/)
    expect(await said('consume', 'made', '--group', 'made', '--exit-at-end')).toEqual(done(''))
  })

  it('changes no group that is being used, and moves no cursor where there is no record', async () => {
    await produce('used', ['a'])
    const member = start('consume', 'used', '--group', 'used')
    await member.seen(/a\n/)
    const active = failed('group "used" has members (GROUP_ACTIVE)')
    expect(await said('group', 'reset', 'used', '--to', 'earliest')).toEqual(active)
    expect(await said('group', 'delete', 'used', '--yes')).toEqual(active)
    member.kill('SIGINT')
    await member.finished
    const outside = await said('group', 'reset', 'used', '--topic', 'used', '--to', '9')
    expect(outside).toMatchObject({ code: 1, stderr: expect.stringContaining('(OFFSET_OUT_OF_RANGE)') })
    expect(await position('used')).toBe(1)
  })

  it('deletes a group, or its cursors of one topic, not without being sure', async () => {
    await produce('kept', ['a'])
    await produce('gone', ['b'])
    for (const topic of ['kept', 'gone']) await said('consume', topic, '--group', 'leaving', '--count', '1')
    expect(await said('group', 'delete', 'leaving')).toEqual(
      failed('deleting group leaving needs --yes: stdin is no terminal, so there is nobody to ask', 2),
    )
    expect(await said('group', 'delete', 'leaving', '--topic', 'gone', '-y')).toEqual(
      done('deleted the cursors of group leaving in topic gone\n'),
    )
    const { partitions } = await client.groups.describe('leaving')
    expect(partitions.map(({ topic }) => topic)).toEqual(['kept'])
    expect(await said('group', 'delete', 'leaving', '--yes')).toEqual(done('deleted group leaving\n'))
    const unknown = failed('there is no group "leaving" (UNKNOWN_GROUP)')
    expect(await said('group', 'describe', 'leaving')).toEqual(unknown)
    expect(await said('group', 'delete', 'leaving', '--yes')).toEqual(unknown)
  })

  const nonsense: [argv: string[], message: string][] = [
    [[], "required option '--to <position>' not specified"],
    [
      ['--to', 'soon'],
      "option '--to <position>' argument 'soon' is invalid. It must be earliest, latest, an offset, or a time such as 2026-11-01T12:00:00Z.",
    ],
    [['--to', '3'], '--to with an offset needs --topic: offsets count within a partition'],
    [['--to', 'earliest', '--partition', '0'], '--partition needs --topic: partitions count within a topic'],
    [['--to', 'earliest', '--create'], '--create needs --topic: nothing else says where'],
  ]

  it.each(nonsense)('refuses to reset with %j', async (argv, message) => {
    expect(await said('group', 'reset', 'any', ...argv)).toEqual(failed(message, 2))
  })
})
