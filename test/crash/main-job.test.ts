import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { connect } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { Cli } from '../support/cli.js'

const isLong = process.env.MILLRACE_LONG === '1'
const wanted = isLong ? { lines: 1_000_000, bytes: 100e6 } : { lines: 30_000, bytes: 4e6 }
const KILLS = isLong ? 8 : 3
const TEXT = /\.(md|js|cjs|mjs|ts|cts|mts|json|txt|map|css|html|c|h|cc|cpp)$/i
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))

/** Every text file under node_modules, one after the other, until there is enough; each ends with a newline. */
async function writeInput(path: string): Promise<{ lines: number; bytes: number; sha256: string }> {
  const out = createWriteStream(path)
  const hash = createHash('sha256')
  let lines = 0
  let bytes = 0
  const names = (await readdir(modules, { recursive: true })).filter((name) => TEXT.test(name)).sort()
  for (let round = 0; lines < wanted.lines || bytes < wanted.bytes; round++) {
    for (const name of names) {
      if (lines >= wanted.lines && bytes >= wanted.bytes) break
      let content = await readFile(join(modules, name)).catch(() => Buffer.alloc(0))
      // A line is a record, and a record has a limit: source maps are left out.
      if (content.length === 0 || longestLine(content) > 1_000_000) continue
      if (content.at(-1) !== 10) content = Buffer.concat([content, Buffer.from('\n')])
      for (const byte of content) if (byte === 10) lines++
      bytes += content.length
      hash.update(content)
      if (!out.write(content)) await new Promise<void>((resolve) => out.once('drain', () => resolve()))
    }
    if (round > 20) throw new Error('node_modules holds too little text')
  }
  await new Promise<void>((resolve) => out.end(() => resolve()))
  return { lines, bytes, sha256: hash.digest('hex') }
}

function longestLine(content: Buffer): number {
  let longest = 0
  for (let at = 0; at < content.length; ) {
    const end = content.indexOf(10, at)
    const next = end === -1 ? content.length : end
    longest = Math.max(longest, next - at)
    at = next + 1
  }
  return longest
}

/** SHA-256 of a file's first bytes as they come out of a command. */
async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** Passes a part of the file on to the command, as fast as it takes it. */
async function feed(command: Cli, file: string, part: { start: number; end: number }): Promise<void> {
  const stdin = command.process.stdin as Writable
  for await (const piece of createReadStream(file, part)) if (!stdin.write(piece)) await once(stdin, 'drain')
}

/** The first kill is to hit a producer at work, not a command that is still looking for its broker. */
async function untilSomeAreDurable(url: string): Promise<void> {
  await using client = connect(url)
  for (;;) {
    const end = await client.describeTopic('text').then(
      ({ partitions }) => partitions[0]?.endOffset ?? 0,
      () => 0,
    )
    if (end > 0) return
    await sleep(20)
  }
}

test(`a text of ${wanted.lines} lines comes back with the same hash after ${KILLS} SIGKILLs of the broker`, {
  timeout: 900_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-main-'))
  const input = join(directory, 'input')
  const output = join(directory, 'output')
  const broker = new BrokerProcess({ dataDir: join(directory, 'data') })
  try {
    const text = await writeInput(input)
    await broker.start()
    const env = { MILLRACE_URL: broker.url }
    const producing = new Cli(['produce', 'text', '--encoding', 'bytes'], { env })
    // Every kill comes between two parts of the input: with all of it through, it would show nothing.
    const partBytes = Math.ceil(text.bytes / (KILLS + 1))
    for (let part = 0; part <= KILLS; part++) {
      await feed(producing, input, { start: part * partBytes, end: (part + 1) * partBytes - 1 })
      if (part === KILLS) break
      if (part === 0) await untilSomeAreDurable(broker.url)
      await broker.kill()
      await sleep(Math.random() * 300)
      await broker.start()
    }
    producing.process.stdin?.end()
    const produced = await producing.finished
    expect(produced.stderr).toMatch(
      new RegExp(`produced ${text.lines} records, ${text.bytes - text.lines} bytes in [\\d.]+ s\\s*$`),
    )
    expect(produced.code).toBe(0)

    const consuming = new Cli(['consume', 'text', '--from', 'earliest', '--exit-at-end'], { env })
    consuming.process.stdout?.pipe(createWriteStream(output))
    expect((await consuming.finished).code).toBe(0)
    expect(await sha256(output)).toBe(text.sha256)
    console.log(`${text.lines} lines, ${text.bytes} bytes, ${KILLS} kills: sha256 ${text.sha256}`)
    expect(await broker.stop()).toBe(0)
    const verified = await new Cli(['verify', join(directory, 'data')]).finished
    expect(verified.stderr + verified.stdout).toMatch(/clean/)
    expect(verified.code).toBe(0)
  } finally {
    await broker.kill()
    await rm(directory, { recursive: true })
  }
})
