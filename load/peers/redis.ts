import { runningPeer } from './figure-process.js'
import { isInstalled } from './packages.js'
import type { Peer, RunningPeer } from './peer.js'
import { PeerServer } from './peer-server.js'
import { findProgram, freePorts, versionOf } from './program.js'
import { redisClient } from './redis-client.js'

const PROGRAM = 'redis-server'

/** Synced before a reply: Redis writes and syncs once for all commands that came in together. */
export const redisDurable: Peer = {
  name: 'Redis Streams, appendfsync always',
  settings: 'appendonly yes, appendfsync always, no snapshots: a reply comes after the fsync; one node',
  isDurable: true,
  find,
  start: (directory) => start(directory, ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '']),
}

export const redisDefault: Peer = {
  name: 'Redis Streams, default',
  settings:
    'as shipped: in memory with a snapshot now and then (appendonly no); a crash loses minutes; one node',
  isDurable: false,
  find,
  start: (directory) => start(directory, []),
}

async function find(): Promise<string | undefined> {
  return redisClient.packages.every(isInstalled) ? await versionOf(PROGRAM, ['--version']) : undefined
}

async function start(directory: string, settings: readonly string[]): Promise<RunningPeer> {
  const [port = 0] = await freePorts(1)
  const listen = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory, '--daemonize', 'no']
  const server = await PeerServer.start({
    name: PROGRAM,
    command: (await findProgram(PROGRAM)) ?? PROGRAM,
    args: [...listen, ...settings],
    directory,
    port,
  })
  return runningPeer({
    client: 'redis',
    url: `redis://127.0.0.1:${port}`,
    figures: ['produceEach', 'produceBatches', 'consume', 'consumeBatches', 'loneSends', 'queue'],
    stop: () => server.stop(),
  })
}
