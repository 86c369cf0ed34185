import { readdir, realpath, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { runningPeer } from './figure-process.js'
import { isInstalled } from './packages.js'
import type { Peer, RunningPeer } from './peer.js'
import { PeerServer } from './peer-server.js'
import { findProgram, freePorts } from './program.js'
import { NO_COMMAND_VERSIONS, rabbitMqClient } from './rabbitmq-client.js'

const PROGRAM = 'rabbitmq-server'
/** Debian's program of this name changes to the user rabbitmq and its directories; this is what it calls then. */
const DEBIAN_PROGRAM = '/usr/lib/rabbitmq/bin/rabbitmq-server'
const START_TIMEOUT_MS = 60_000

/** There is no durable mode beside it: streams leave syncing to the operating system and confirm before that. */
export const rabbitMqStreams: Peer = {
  name: 'RabbitMQ streams',
  settings: 'as shipped, and there is nothing stricter: a confirm never waits for an fsync; one node',
  isDurable: false,
  find,
  start,
}

async function find(): Promise<string | undefined> {
  if (!rabbitMqClient.packages.every(isInstalled)) return undefined
  if ((await findProgram('epmd')) === undefined) return undefined
  return await pluginVersion()
}

/** That of the server, unless it comes without the stream plugin. */
async function pluginVersion(): Promise<string | undefined> {
  const program = await findServer()
  if (program === undefined) return undefined
  const plugins = await readdir(join(dirname(program), '../plugins')).catch(() => [])
  for (const name of plugins) {
    const version = /^rabbitmq_stream-(\d+\.\d+\.\d+)/.exec(name)?.[1]
    if (version !== undefined) return version
  }
  return undefined
}

async function findServer(): Promise<string | undefined> {
  const program = (await realpath(DEBIAN_PROGRAM).catch(() => undefined)) ?? (await findProgram(PROGRAM))
  return program === undefined ? undefined : await realpath(program)
}

async function start(directory: string): Promise<RunningPeer> {
  const isOld = /^3\.([0-9]|10)\./.test((await pluginVersion()) ?? '')
  const [port = 0, distributionPort = 0, epmdPort = 0] = await freePorts(3)
  const environment = await configure({ directory, port, distributionPort, epmdPort })
  // A server without this one beside it would start one that outlives it and listens everywhere.
  const epmd = await PeerServer.start({
    name: 'epmd',
    command: (await findProgram('epmd')) ?? 'epmd',
    args: ['-address', '127.0.0.1', '-port', String(epmdPort)],
    directory,
    port: epmdPort,
  })
  try {
    const server = await PeerServer.start({
      name: PROGRAM,
      command: (await findServer()) ?? PROGRAM,
      args: [],
      directory,
      port,
      env: environment,
      startTimeoutMs: START_TIMEOUT_MS,
    })
    return runningPeer({
      client: 'rabbitmq',
      url: `rabbitmq-stream://127.0.0.1:${port}${isOld ? NO_COMMAND_VERSIONS : ''}`,
      // A stream is no queue. Its client hands over no batches, and of those it can send it reads back only a part.
      figures: ['produceEach', 'consume', 'loneSends'],
      stop: async () => {
        await server.stop()
        await epmd.stop()
      },
    })
  } catch (error) {
    await epmd.stop()
    throw error
  }
}

/** Everything that RabbitMQ would read from or write to its usual places. */
async function configure(options: {
  directory: string
  port: number
  distributionPort: number
  epmdPort: number
}): Promise<Record<string, string>> {
  const { directory, port, distributionPort, epmdPort } = options
  const inDirectory = (name: string): string => join(directory, name)
  const configuration = [
    'listeners.tcp = none',
    `stream.listeners.tcp.1 = 127.0.0.1:${port}`,
    'stream.advertised_host = 127.0.0.1',
    `stream.advertised_port = ${port}`,
    'log.console.level = warning',
  ]
  await writeFile(inDirectory('rabbitmq.conf'), `${configuration.join('\n')}\n`)
  await writeFile(inDirectory('enabled_plugins'), '[rabbitmq_stream].\n')
  await writeFile(inDirectory('environment.conf'), '')
  return {
    HOME: directory,
    RABBITMQ_NODENAME: `millrace-${port}@localhost`,
    RABBITMQ_CONF_ENV_FILE: inDirectory('environment.conf'),
    RABBITMQ_CONFIG_FILE: inDirectory('rabbitmq.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: inDirectory('enabled_plugins'),
    RABBITMQ_MNESIA_BASE: inDirectory('data'),
    RABBITMQ_LOG_BASE: inDirectory('log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(epmdPort),
  }
}
