import { fileURLToPath } from 'node:url'
import { durableStreamsClient } from './durable-streams-client.js'
import { runningPeer } from './figure-process.js'
import { isInstalled, packageVersion } from './packages.js'
import type { Peer, RunningPeer } from './peer.js'
import { PeerServer } from './peer-server.js'
import { freePorts } from './program.js'

const serverProcess = fileURLToPath(new URL('./durable-streams-server.js', import.meta.url))

/** The reference server of the protocol for Node. */
export const durableStreamsOnFiles: Peer = {
  name: 'Durable Streams server, on files',
  settings: 'HTTP; dataDir set, no compression: an append is answered after fdatasync of its file; one node',
  isDurable: true,
  find,
  start: (directory) => start(directory, [directory]),
}

export const durableStreamsInMemory: Peer = {
  name: 'Durable Streams server, default',
  settings: 'HTTP; in memory, no compression: nothing is stored; one node',
  isDurable: false,
  find,
  start: (directory) => start(directory, []),
}

async function find(): Promise<string | undefined> {
  const areInstalled = durableStreamsClient.packages.every(isInstalled)
  return areInstalled ? packageVersion('@durable-streams/server') : undefined
}

async function start(directory: string, dataDirectory: readonly string[]): Promise<RunningPeer> {
  const [port = 0] = await freePorts(1)
  const server = await PeerServer.start({
    name: '@durable-streams/server',
    command: process.execPath,
    args: [serverProcess, String(port), ...dataDirectory],
    directory,
    port,
  })
  return runningPeer({
    client: 'durable-streams',
    url: `http://127.0.0.1:${port}`,
    figures: ['produceEach', 'produceBatches', 'consume', 'consumeBatches', 'loneSends'],
    stop: () => server.stop(),
  })
}
