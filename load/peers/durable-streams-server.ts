/** `@durable-streams/server` in a process of its own: argv holds the port and, unless it is to stay in memory, the directory. */
import { peerPackage } from './packages.js'

interface DurableStreamsServerModule {
  readonly DurableStreamTestServer: new (options: {
    host: string
    port: number
    compression: boolean
    dataDir?: string
  }) => { start(): Promise<unknown>; stop(): Promise<void> }
}

const [port, dataDir] = process.argv.slice(2)
const { DurableStreamTestServer } = peerPackage<DurableStreamsServerModule>('@durable-streams/server')
const server = new DurableStreamTestServer({
  host: '127.0.0.1',
  port: Number(port),
  compression: false,
  ...(dataDir === undefined ? {} : { dataDir }),
})
await server.start()
process.once('SIGTERM', () => {
  void server.stop().finally(() => process.exit(0))
})
