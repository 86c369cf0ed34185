import { createHash, randomBytes } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Cli, type Finished, millrace, startBrokerProcess } from '../../support/cli.js'

let directory: string
let broker: { cli: Cli; url: string; port: number }
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-records-'))
  broker = await startBrokerProcess(join(directory, 'data'))
})
afterAll(async () => {
  broker.cli.kill('SIGKILL')
  await broker.cli.finished
  rmSync(directory, { recursive: true })
})

const env = () => ({ MILLRACE_URL: broker.url })
const start = (...argv: string[]): Cli => new Cli(argv, { env: env() })
const produce = (input: string | Uint8Array, ...argv: string[]): Promise<Finished> =>
  millrace(['produce', ...argv], { env: env(), input })
const consume = (...argv: string[]): Promise<Finished> => millrace(['consume', ...argv], { env: env() })
const output = async (...argv: string[]): Promise<string> => (await consume(...argv)).stdout.toString()

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Lines of many lengths and kinds; `line` gives the bytes of one. */
function manyLines(count: number, line: (i: number) => Buffer): Buffer {
  const newline = Buffer.from('\n')
  return Buffer.concat(Array.from({ length: count }, (_, i) => [line(i), newline]).flat())
}

const textLine = (i: number): Buffer => {
  if (i % 7 === 0) return Buffer.alloc(0)
  if (i % 5000 === 1) return Buffer.from('\u{1f600}é'.repeat(50_000))
  return Buffer.from(
    `${i} ${'abcdefghij'.repeat(i % 20)}${i % 11 === 0 ? '\r' : ''}${i % 13 === 0 ? '\0\t\uFEFFü' : ''}`,
  )
}

describe('a file through produce and consume', () => {
  it('comes back byte for byte: empty lines, carriage returns, long lines, any character', async () => {
    const file = join(directory, 'text')
    const input = manyLines(30_000, textLine)
    writeFileSync(file, input)
    const stdin = openSync(file, 'r')
    const produced = await new Cli(['produce', 'text'], { env: env(), stdin }).finished
    closeSync(stdin)
    expect(produced).toMatchObject({ code: 0, stdout: Buffer.alloc(0) })
    expect(produced.stderr).toMatch(
      new RegExp(`^produced 30000 records, ${input.length - 30_000} bytes in \\d+\\.\\d\\d s\n$`),
    )
    const { code, stdout, stderr } = await consume('text', '--exit-at-end')
    expect({ code, stderr, sha256: sha256(stdout) }).toEqual({ code: 0, stderr: '', sha256: sha256(input) })
  })

  it('comes back byte for byte when it is no text, in a bytes topic', async () => {
    const input = manyLines(2000, (i) => randomBytes(i).map((byte) => (byte === 10 ? 11 : byte)) as Buffer)
    expect((await produce(input, 'binary', '--encoding', 'bytes')).code).toBe(0)
    expect(sha256((await consume('binary', '--exit-at-end')).stdout)).toBe(sha256(input))
  })

  it('comes back with a last newline that it lacked', async () => {
    expect((await produce('one\ntwo', 'unended')).stderr).toContain('produced 2 records, 6 bytes in ')
    expect(await output('unended', '--exit-at-end')).toBe('one\ntwo\n')
  })

  it('may be empty', async () => {
    expect((await produce('', 'empty')).stderr).toContain('produced 0 records, 0 bytes in ')
    expect(await output('empty', '--exit-at-end')).toBe('')
  })

  it('may be JSON, of which not a character changes', async () => {
    await millrace(['topic', 'create', 'json', '--value-encoding', 'json'], { env: env() })
    const input = '{ "big": 12345678901234567890,  "x": 1.50 }\nnull\n"é"\n'
    await produce(input, 'json')
    expect(await output('json', '--exit-at-end')).toBe(input)
  })

  it('goes on where the broker was killed and started again, and comes back whole', async () => {
    const data = join(directory, 'killed')
    const first = await startBrokerProcess(data)
    const flags = ['--port', String(first.port)]
    const kept = { MILLRACE_URL: first.url }
    const input = manyLines(80_000, (i) => Buffer.from(`${i} ${'x'.repeat(90)}`))
    const producing = new Cli(['produce', 'killed'], { env: kept })
    let current = first.cli
    for (let part = 0; part < 2; part++) {
      const share = input.subarray((part * input.length) / 2, ((part + 1) * input.length) / 2)
      await new Promise((resolve) => producing.process.stdin?.write(share, resolve))
      await sleep(50)
      current.kill('SIGKILL')
      await current.finished
      current = (await startBrokerProcess(data, { flags })).cli
    }
    producing.process.stdin?.end()
    const { code, stderr } = await producing.finished
    expect(code).toBe(0)
    expect(stderr).toContain('waiting for the broker to come back')
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^produced 80000 records, \d+ bytes in [\d.]+ s$/)
    const { stdout } = await millrace(['consume', 'killed', '--exit-at-end'], { env: kept })
    expect(sha256(stdout)).toBe(sha256(input))
    current.kill('SIGKILL')
    await current.finished
  })
})

describe('millrace produce', () => {
  it('names the line that is no text, and writes every line before it', async () => {
    const input = Buffer.concat([Buffer.from('a\nb\n'), Buffer.from([0xff, 10]), Buffer.from('c\n')])
    const { code, stderr } = await produce(input, 'bad-text')
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr:
        'millrace: line 3 is not valid UTF-8, which a topic of encoding text cannot hold: ' +
        'use another topic with --encoding bytes; 2 lines were acknowledged\n',
    })
    expect(await output('bad-text', '--exit-at-end')).toBe('a\nb\n')
  })

  it('takes a record up to the limit, and names the line that is longer', async () => {
    const fitting = Buffer.alloc(1024 * 1024 - 64, 'x')
    expect((await produce(fitting, 'long')).code).toBe(0)
    expect((await consume('long', '--exit-at-end')).stdout.length).toBe(fitting.length + 1)
    const { code, stderr } = await produce(`ok\n\n${'é'.repeat(600_000)}\nnever\n`, 'too-long')
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^millrace: line 3 is too long: the record has 12000\d\d bytes, at most 1048576 are allowed; [0-2] lines were acknowledged\n$/,
    )
    expect(await output('too-long', '--exit-at-end')).not.toContain('never')
  })

  it('splits keys from values, and consume joins them', async () => {
    const input = 'a\t1\nb\t2\t3\n\t\n'
    expect((await produce(input, 'keyed', '--key-separator', '\\t')).stderr).toContain(
      'produced 3 records, 4 bytes',
    )
    expect(await output('keyed', '--exit-at-end', '--key-separator', '\\t')).toBe(input)
    expect(await output('keyed', '--exit-at-end')).toBe('1\n2\t3\n\n')
    const missing = await produce('a:1\nb\n', 'keyed2', '--key-separator', ':')
    expect(missing.stderr).toBe(
      'millrace: line 2 has no key: it does not hold ":"; 1 line was acknowledged\n',
    )
  })

  it('keeps to the topic that exists, and says what differs from the command line', async () => {
    await produce('a\n', 'existing', '--partitions', '2')
    expect((await produce('b\n', 'existing')).code).toBe(0)
    expect((await produce('b\n', 'existing', '--partitions', '2', '--encoding', 'text')).code).toBe(0)
    const other = await produce('b\n', 'existing', '--partitions', '3')
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('has 2 partitions, not 3') })
    const bytes = await produce('b\n', 'existing', '--encoding', 'bytes')
    expect(bytes).toMatchObject({ code: 1, stderr: expect.stringContaining('has encoding text, not bytes') })
  })

  it('sends a line when it comes, not when the input ends, and ends well when interrupted', async () => {
    const producing = start('produce', 'slow')
    producing.process.stdin?.write('first\nsec')
    await expect.poll(() => output('slow', '--exit-at-end'), { interval: 200 }).toBe('first\n')
    producing.kill('SIGINT')
    const { code, stderr } = await producing.finished
    expect({ code, stderr }).toEqual({
      code: 130,
      stderr: 'millrace: interrupted; 1 line was acknowledged\n',
    })
  })

  it('gives up after --timeout, and says how many lines were acknowledged', async () => {
    const own = await startBrokerProcess(join(directory, 'gone'))
    const producing = new Cli(['produce', 'gone', '--timeout', '1s'], { env: { MILLRACE_URL: own.url } })
    producing.process.stdin?.write('a\nb\n')
    const read = () => millrace(['consume', 'gone', '--exit-at-end'], { env: { MILLRACE_URL: own.url } })
    await expect.poll(async () => (await read()).stdout.toString()).toBe('a\nb\n')
    own.cli.kill('SIGKILL')
    await own.cli.finished
    producing.process.stdin?.write('c\n')
    const { code, stderr } = await producing.finished
    expect(code).toBe(1)
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^millrace: .*\(TIMEOUT\); 2 lines were acknowledged$/)
  })

  it('refuses an illegal topic name', async () => {
    const { code, stderr } = await produce('a\n', 'no/slash')
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'millrace: a topic name may hold only letters, digits, ".", "_" and "-" (ILLEGAL_TOPIC_NAME)\n',
    })
  })
})

describe('millrace consume', () => {
  it('starts where it is told: an offset, a time, the end', async () => {
    await produce('0\n1\n2\n', 'positions')
    await sleep(20)
    const time = new Date().toISOString()
    await sleep(20)
    await produce('3\n4\n', 'positions')
    expect(await output('positions', '--partition', '0', '--offset', '2', '--exit-at-end')).toBe('2\n3\n4\n')
    expect(await output('positions', '--from', time, '--exit-at-end')).toBe('3\n4\n')
    expect(await output('positions', '--from', 'latest', '--exit-at-end')).toBe('')
    expect(await output('positions', '--from', 'earliest', '--count', '2')).toBe('0\n1\n')
    const outside = await consume('positions', '--partition', '0', '--offset', '9')
    expect(outside).toMatchObject({ code: 1, stderr: expect.stringContaining('(OFFSET_OUT_OF_RANGE)') })
  })

  it('reads one partition of many', async () => {
    await produce(
      Array.from({ length: 100 }, (_, i) => `${i}:${i}\n`).join(''),
      'parts',
      '--partitions',
      '4',
      '--key-separator',
      ':',
    )
    const parts = await Promise.all(
      [0, 1, 2, 3].map((p) => output('parts', '--partition', String(p), '--exit-at-end')),
    )
    const all = parts.join('').trim().split('\n').map(Number)
    expect(all.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(parts.every((part) => part.length > 0 && part.length < 290)).toBe(true)
  })

  it('prints whole records as JSON', async () => {
    await produce('k=v\n', 'whole', '--key-separator', '=')
    await produce(Buffer.from([0xff, 10]), 'whole-bytes', '--encoding', 'bytes')
    expect(JSON.parse(await output('whole', '--exit-at-end', '--json'))).toEqual({
      topic: 'whole',
      partition: 0,
      offset: 0,
      timestamp: expect.stringMatching(/^20.*Z$/),
      appendTime: expect.stringMatching(/^20.*Z$/),
      key: 'k',
      value: 'v',
      headers: {},
    })
    expect(JSON.parse(await output('whole-bytes', '--exit-at-end', '--json')).value).toEqual({
      base64: '/w==',
    })
  })

  it('follows the topic until it is interrupted, and then exits 0', async () => {
    await produce('a\n', 'followed')
    const following = start('consume', 'followed')
    await following.seen(/a\n/)
    await produce('b\n', 'followed')
    await following.seen(/b\n/)
    following.kill('SIGINT')
    const { code, stdout, stderr } = await following.finished
    expect({ code, stdout: stdout.toString(), stderr }).toEqual({ code: 0, stdout: 'a\nb\n', stderr: '' })
  })

  it('follows the topic across a restart of the broker', async () => {
    const data = join(directory, 'restarted')
    const first = await startBrokerProcess(data)
    const kept = { MILLRACE_URL: first.url }
    await millrace(['produce', 'followed'], { env: kept, input: 'a\n' })
    const following = new Cli(['consume', 'followed'], { env: kept })
    await following.seen(/a\n/)
    first.cli.kill('SIGKILL')
    await first.cli.finished
    const second = await startBrokerProcess(data, { flags: ['--port', String(first.port)] })
    await millrace(['produce', 'followed'], { env: kept, input: 'b\n' })
    await following.seen(/b\n/)
    following.kill('SIGINT')
    const { code, stdout } = await following.finished
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: 'a\nb\n' })
    second.cli.kill('SIGKILL')
    await second.cli.finished
  })

  it('ends quietly when its reader has enough', async () => {
    await produce(
      manyLines(100_000, (i) => Buffer.from(`line ${i}`)),
      'headed',
    )
    const consuming = start('consume', 'headed')
    await consuming.seen(/line 0\n/)
    consuming.process.stdout?.destroy()
    const { code, stderr } = await consuming.finished
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })

  it('fails when there is no such topic', async () => {
    expect(await consume('nowhere')).toMatchObject({
      code: 1,
      stderr: 'millrace: there is no topic "nowhere" (UNKNOWN_TOPIC)\n',
    })
  })

  const nonsense: [argv: string[], message: string][] = [
    [['--offset', '3'], '--offset needs --partition: offsets count within a partition'],
    [
      ['--offset', '3', '--partition', '0', '--from', 'latest'],
      '--offset and --from both say where to start',
    ],
    [['--json', '--key-separator', ':'], '--json prints the key already: leave out --key-separator'],
    [
      ['--from', '2026-13-01'],
      "option '--from <position>' argument '2026-13-01' is invalid. " +
        'It must be earliest, latest or a time such as 2026-11-01T12:00:00Z.',
    ],
    [['--count', '0'], "option '--count <n>' argument '0' is invalid. It must be a whole number, 1 or more."],
  ]

  it.each(nonsense)('refuses %j', async (argv, message) => {
    expect(await consume('any', ...argv)).toMatchObject({ code: 2, stderr: `millrace: ${message}\n` })
  })
})
