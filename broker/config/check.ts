import { ConfigError } from './config-error.js'
import type { BrokerConfig } from './schema.js'
import { flagOf, SETTINGS, type SettingName } from './settings.js'
import { formatValue } from './values.js'

const KIB = 1024

/** What goes around a record in its batch and around a batch in its frame, with room to spare. */
const framingBytes = 1 * KIB
/** WAL segments in the smallest WAL: one that is written, one that is sealed, and what is between. */
const walSegmentsMin = 4

interface Rule {
  /** The setting that is too small. */
  readonly name: SettingName
  readonly least: (config: BrokerConfig) => number
  /** What `least` is, in words. */
  readonly because: string
}

const RULES: readonly Rule[] = [
  {
    name: 'batchBytesMax',
    least: (c) => c.recordBytesMax + framingBytes,
    because: 'a batch must hold the largest record (recordBytesMax) and 1 KiB',
  },
  {
    name: 'frameBytesMax',
    least: (c) => c.batchBytesMax + framingBytes,
    because: 'a frame must hold the largest batch (batchBytesMax) and 1 KiB',
  },
  {
    name: 'inFlightBytesPerConnection',
    least: (c) => c.frameBytesMax,
    because: 'a connection must be able to send one whole frame (frameBytesMax)',
  },
  {
    name: 'inFlightBytes',
    least: (c) => c.inFlightBytesPerConnection,
    because: 'all connections together may send at least what one may (inFlightBytesPerConnection)',
  },
  {
    name: 'httpBodyBytes',
    least: (c) => c.httpBodyBytesMax,
    because: 'all requests together may bring at least what one may (httpBodyBytesMax)',
  },
  {
    name: 'walBacklogBytes',
    least: (c) => c.batchBytesMax + framingBytes,
    because: 'the backlog must hold the largest batch (batchBytesMax) and 1 KiB',
  },
  {
    name: 'walSegmentBytes',
    // A batch that is larger than a group is a group of its own; header, padding and proof groups are pages.
    least: (c) => Math.max(c.groupBytesMax, c.batchBytesMax) + c.groupBytesMax + 64 * KIB,
    because:
      'a segment must hold the largest group (batchBytesMax, groupBytesMax), one more group and 64 KiB',
  },
  {
    name: 'walBytesMax',
    least: (c) => walSegmentsMin * c.walSegmentBytes,
    because: `the WAL needs at least ${walSegmentsMin} segments (walSegmentBytes)`,
  },
  {
    name: 'walBytesMax',
    least: (c) => 2 * c.chunkBytes,
    because: 'the WAL must hold two chunks (chunkBytes) that are not sealed yet',
  },
  {
    name: 'tailCacheBytes',
    least: (c) => c.batchBytesMax + framingBytes,
    because: 'the cache must hold the largest batch (batchBytesMax) and 1 KiB',
  },
]

/** Throws `ConfigError` when settings contradict each other. */
export function checkTogether(config: BrokerConfig): void {
  for (const { name, least, because } of RULES) {
    const value = config[name] as number
    const needed = least(config)
    if (value >= needed) continue
    const shown = (number: number) => formatValue(SETTINGS[name].kind, number)
    throw new ConfigError(
      `${name} (${flagOf(name)}) is ${shown(value)}, but must be at least ${shown(needed)}: ${because}`,
    )
  }
  if (config.partitionsMax < config.topicsMax) {
    throw new ConfigError(
      `partitionsMax (${flagOf('partitionsMax')}) is ${config.partitionsMax}, but must be at least topicsMax, ` +
        `${config.topicsMax}: every topic has a partition`,
    )
  }
}
