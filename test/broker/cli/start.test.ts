import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Cli, millrace, startBrokerProcess } from '../../support/cli.js'

let directory: string
const running: Cli[] = []
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-start-'))
})
afterEach(async () => {
  for (const cli of running.splice(0)) {
    cli.kill('SIGKILL')
    await cli.finished
  }
  rmSync(directory, { recursive: true })
})

async function start(...flags: string[]): Promise<{ cli: Cli; port: number }> {
  const broker = await startBrokerProcess(join(directory, 'data'), { flags })
  running.push(broker.cli)
  return broker
}

interface Line {
  readonly level: string
  readonly msg: string
}

const linesOf = (stdout: Buffer): Line[] =>
  stdout
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

/** What a broker that cannot start logs, which has to be all it says. */
async function fatalLine(...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await millrace(['start', ...argv])
  const lines = linesOf(stdout)
  expect({ code, stderr, level: lines.at(-1)?.level }).toEqual({ code: 1, stderr: '', level: 'fatal' })
  expect(JSON.stringify(lines)).not.toContain('    at ')
  return lines.at(-1)?.msg ?? ''
}

async function listen(): Promise<{ server: Server; port: number }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as { port: number }).port }
}

describe('millrace start', () => {
  it('says where it listens and where its data is, and exits 0 on SIGTERM', async () => {
    const { cli, port } = await start()
    const ready = linesOf(cli.stdout).at(-1)
    const url = `ws://127.0.0.1:${port}`
    const dataDir = join(directory, 'data')
    expect(ready).toMatchObject({ level: 'info', url, dataDir, msg: `ready on ${url}, data in ${dataDir}` })
    cli.kill('SIGTERM')
    const { code, stdout, stderr } = await cli.finished
    expect({ code, stderr, last: linesOf(stdout).at(-1)?.msg }).toEqual({
      code: 0,
      stderr: '',
      last: 'stopped',
    })
  })

  it('exits 0 on SIGINT, also when npm passes the signal on a second time', async () => {
    const { cli } = await start()
    for (let times = 0; times < 2; times++) cli.kill('SIGINT')
    expect((await cli.finished).code).toBe(0)
  })

  it('gives file work at least 8 threads', async () => {
    const { cli } = await start()
    const tasks = `/proc/${cli.process.pid}/task`
    const names = () =>
      readdirSync(tasks).map((task) => readFileSync(join(tasks, task, 'comm'), 'utf8').trim())
    const pool = names().filter((name) => name.startsWith('libuv-worker') || name === 'node').length
    // Node itself has 7 threads and LMDB may have its own; with the default pool of 4 there would be 11 or so.
    expect(pool).toBeGreaterThanOrEqual(7 + 8)
  })

  it('takes its configuration from a file', async () => {
    const { port, server } = await listen()
    await new Promise((resolve) => server.close(resolve))
    const config = join(directory, 'millrace.json')
    writeFileSync(config, JSON.stringify({ port, dataDir: 'from-file' }))
    const cli = new Cli(['start', '--config', config])
    running.push(cli)
    await cli.seen(new RegExp(`ready on ws://127.0.0.1:${port}, data in ${join(directory, 'from-file')}`))
    const socket = connect(port, '127.0.0.1')
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    socket.destroy()
  })

  it('warns that there is no authentication when others can reach it', async () => {
    const { cli } = await start('--host', '0.0.0.0')
    const warnings = linesOf(cli.stdout).filter(({ level }) => level === 'warn')
    expect(warnings.map(({ msg }) => msg)).toEqual([expect.stringContaining('no authentication')])
  })
})

describe('a broker whose storage fails', () => {
  it('says so and exits 1', async () => {
    const env = { MILLRACE_FAILPOINTS: 'walBeforeWrite=eio@4+' }
    const broker = await startBrokerProcess(join(directory, 'data'), { env })
    running.push(broker.cli)
    const produced = millrace(['produce', 'logs', '--timeout', '2s'], {
      env: { MILLRACE_URL: broker.url },
      input: 'a\n',
    })
    const { code, stdout } = await broker.cli.finished
    expect(code).toBe(1)
    expect(linesOf(stdout).at(-1)).toMatchObject({
      level: 'fatal',
      msg: expect.stringMatching(/^storage failed: /),
    })
    expect((await produced).code).toBe(1)
  })
})

describe('a broker that cannot start says why in one line', () => {
  it('when its port is in use', async () => {
    const { server, port } = await listen()
    const line = await fatalLine('--data-dir', join(directory, 'data'), '--port', String(port))
    server.close()
    expect(line).toBe(
      `port ${port} on 127.0.0.1 is in use: stop what listens there, or choose another with --port`,
    )
  })

  it('when another broker has the data directory', async () => {
    const { cli } = await start()
    const line = await fatalLine('--data-dir', join(directory, 'data'), '--port', '0')
    expect(line).toContain(`is in use by process ${cli.process.pid}`)
  })

  it('when the data directory is a file', async () => {
    const path = join(directory, 'file')
    writeFileSync(path, '')
    expect(await fatalLine('--data-dir', path, '--port', '0')).toContain(
      `cannot use the data directory ${path}: `,
    )
  })

  it.skipIf(process.getuid?.() === 0)('when the data directory cannot be written', async () => {
    const path = join(directory, 'read-only')
    mkdirSync(path)
    chmodSync(path, 0o500)
    expect(await fatalLine('--data-dir', path, '--port', '0')).toContain(
      `cannot use the data directory ${path}: `,
    )
  })

  it('when the host is no address of this machine', async () => {
    const line = await fatalLine('--data-dir', join(directory, 'data'), '--host', '192.0.2.1', '--port', '0')
    expect(line).toContain('cannot listen on 192.0.2.1: it is no address of this machine')
  })

  it('when the configuration is wrong, with exit code 2 and nothing started', async () => {
    const result = await millrace(['start', '--wal-bytes-max', '1MiB'], { cwd: directory })
    expect(result.code).toBe(2)
    expect(result.stderr).toBe(
      'millrace: walBytesMax (--wal-bytes-max) is 1 MiB, but must be at least 256 MiB: ' +
        'the WAL needs at least 4 segments (walSegmentBytes)\n',
    )
    expect(readdirSync(directory)).toEqual([])
  })
})
