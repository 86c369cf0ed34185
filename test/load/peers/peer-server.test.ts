import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { accepts, PeerServer } from '../../../load/peers/peer-server.js'
import { freePorts } from '../../../load/peers/program.js'
import { root } from '../../tidy/source-files.js'

const compiled = (name: string): string => pathToFileURL(join(root, 'dist/load/peers', name)).href

/** A server that is a line of JavaScript. */
async function options(script: string) {
  const [port = 0] = await freePorts(1)
  const args = ['-e', script.replace('PORT', String(port))]
  return { name: 'a server', command: process.execPath, args, directory: tmpdir(), port }
}

const LISTEN = `require('node:net').createServer().listen(PORT, '127.0.0.1')`

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('the server of a peer', () => {
  it('is ready once it listens, and stops', async () => {
    const server = await PeerServer.start(await options(LISTEN))
    await server.stop()
    await server.stop()
  })

  it('that ends at once is reported with its last log lines', async () => {
    const script = `console.log('first'); console.error('no such directory'); process.exitCode = 3`
    await expect(PeerServer.start(await options(script))).rejects.toThrow(
      /a server ended with 3; its last log lines:\n[\s\S]*no such directory/,
    )
  })

  it('that does not listen in time is reported and ended', async () => {
    const script = `console.log(process.pid); setInterval(() => {}, 1000)`
    let pid: string | undefined
    // A busy machine may not get so far as to print a line in that time: then it is given more.
    for (let startTimeoutMs = 1_000; pid === undefined; startTimeoutMs *= 2) {
      const late = { ...(await options(script)), startTimeoutMs }
      const error = await PeerServer.start(late).then(
        () => '',
        (reason: Error) => reason.message,
      )
      expect(error).toContain(`did not listen within ${startTimeoutMs} ms; its last log lines:`)
      pid = /log lines:\n(\d+)/.exec(error)?.[1]
    }
    expect(isRunning(Number(pid))).toBe(false)
  })

  it('that cannot be run is reported', async () => {
    const missing = { ...(await options('')), command: join(tmpdir(), 'no-such-program') }
    await expect(PeerServer.start(missing)).rejects.toThrow('ENOENT')
  })

  it.each(['SIGTERM', 'SIGINT'] as const)('ends when a bench ends by %s', async (signal) => {
    const given = await options(LISTEN)
    const script = `
      import { PeerServer } from '${compiled('peer-server.js')}'
      await PeerServer.start(${JSON.stringify(given)})
      console.log('ready')
      setInterval(() => {}, 1000)`
    const bench = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(bench.stdout, 'data')
    expect(await accepts(given.port)).toBe(true)
    bench.kill(signal)
    const [, endedBy] = await once(bench, 'exit')
    expect(endedBy).toBe(signal)
    await expect.poll(() => accepts(given.port)).toBe(false)
  })
})
