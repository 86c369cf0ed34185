import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runningPeer } from './figure-process.js'
import { jetStreamClient } from './jetstream-client.js'
import { isInstalled } from './packages.js'
import type { Peer, RunningPeer } from './peer.js'
import { PeerServer } from './peer-server.js'
import { accepts, findProgram, freePorts, versionOf } from './program.js'

const PROGRAM = 'nats-server'

/** Only newer servers know the setting; Debian 12 has 2.9, which does not. */
const SYNC_ALWAYS = 'sync_interval: always'

export const jetStreamDurable: Peer = {
  name: 'NATS JetStream, sync always',
  settings: `file storage, ${SYNC_ALWAYS}: a publish is acknowledged after the fsync; acks of jobs are not; one node`,
  isDurable: true,
  find: () => find(SYNC_ALWAYS),
  start: (directory) => start(directory, SYNC_ALWAYS),
}

export const jetStreamDefault: Peer = {
  name: 'NATS JetStream, default',
  settings: 'as shipped: file storage, acknowledged before it is synced, synced every two minutes; one node',
  isDurable: false,
  find: () => find(),
  start: (directory) => start(directory),
}

/** The server itself says whether it knows the settings. */
async function find(setting = ''): Promise<string | undefined> {
  if (!jetStreamClient.packages.every(isInstalled)) return undefined
  const version = await versionOf(PROGRAM, ['--version'])
  if (version === undefined || setting === '') return version
  const directory = await mkdtemp(join(tmpdir(), 'millrace-peer-'))
  try {
    const path = await writeConfiguration({ directory, port: 4222, setting })
    return (await accepts(PROGRAM, ['-t', '-c', path])) ? version : undefined
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function start(directory: string, setting = ''): Promise<RunningPeer> {
  const [port = 0] = await freePorts(1)
  const server = await PeerServer.start({
    name: PROGRAM,
    command: (await findProgram(PROGRAM)) ?? PROGRAM,
    args: ['-c', await writeConfiguration({ directory, port, setting })],
    directory,
    port,
  })
  return runningPeer({
    client: 'jetstream',
    url: `nats://127.0.0.1:${port}`,
    // Its batches need a newer server than its client does, and it hands over no batches.
    figures: ['produceEach', 'consume', 'loneSends', 'queue'],
    stop: () => server.stop(),
  })
}

async function writeConfiguration(options: {
  directory: string
  port: number
  setting: string
}): Promise<string> {
  const { directory, port, setting } = options
  const path = join(directory, 'nats.conf')
  const store = JSON.stringify(join(directory, 'store'))
  await writeFile(path, `listen: "127.0.0.1:${port}"\njetstream {\n  store_dir: ${store}\n  ${setting}\n}\n`)
  return path
}
