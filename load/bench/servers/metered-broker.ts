/** A broker that tells its parent process what it has counted. argv: the data directory. */
import { startBroker } from '../../../broker/index.js'

/** What a figure reads of the broker's metrics. */
export interface Meter {
  readonly deliveredBytes: number
  readonly produceBytes: number
  readonly cacheHits: number
  /** Reads for readers that the tail cache could not serve. */
  readonly cacheMisses: number
}

const broker = await startBroker({ dataDir: process.argv[2] ?? '.', port: 0, logLevel: 'error' })
process.on('message', () => {
  const { deliveredBytes, produceBytes, cacheHits, cacheMisses } = broker.metrics.snapshot().counters
  const meter: Meter = { deliveredBytes, produceBytes, cacheHits, cacheMisses }
  process.send?.(meter)
})
process.once('SIGTERM', () => void broker.close().then(() => process.exit(0)))
process.stdout.write(`${JSON.stringify({ port: broker.port })}\n`)
