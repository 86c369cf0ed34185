import type { TopicId } from '../../protocol/ids.js'

/**
 * What happens inside the broker, for whoever asks why it does what it does: one line of the log each, under the name as
 * `event`, beside the counters. Reads come in thousands a second: they are told at `trace` alone.
 */
export const EVENTS = {
  cacheHit: { level: 'trace', text: 'the tail cache served a read' },
  cacheMiss: { level: 'trace', text: 'a read went to disk' },
  cacheEviction: { level: 'debug', text: 'the tail cache let its oldest records go' },
  demotion: { level: 'debug', text: 'a follower fell behind the tail cache and reads from disk' },
  seal: { level: 'debug', text: 'a chunk was sealed' },
  truncation: { level: 'info', text: 'records were deleted' },
} as const satisfies Readonly<Record<string, { level: 'trace' | 'debug' | 'info'; text: string }>>

export type EventName = keyof typeof EVENTS

interface PartitionAt {
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
}

/** What is said of each. No records, no keys: the log holds nobody's data. */
export interface EventFields {
  readonly cacheHit: PartitionAt
  readonly cacheMiss: PartitionAt & { readonly source: 'wal' | 'chunk' }
  readonly cacheEviction: { readonly slabs: number; readonly bytes: number; readonly cachedBytes: number }
  readonly demotion: PartitionAt & { readonly source: 'wal' | 'chunk' }
  readonly seal: {
    /** The name of its file. */
    readonly chunk: string
    readonly partitions: number
    readonly records: number
    readonly bytes: number
    readonly ms: number
  }
  readonly truncation: {
    readonly topic: string
    readonly partition: number
    /** `request`, or the rule of retention. */
    readonly reason: string
    readonly startOffset: number
    readonly records: number
    readonly bytes: number
  }
}

/** How to tell each event; one that nobody listens for is missing, so that its fields need not be put together. */
export type Tellers = { readonly [Name in EventName]?: (fields: EventFields[Name]) => void }

/** Tells the events for which `tellerOf` gives somebody to tell. */
export function tellers(
  tellerOf: (name: EventName) => ((fields: Readonly<Record<string, unknown>>) => void) | undefined,
): Tellers {
  const names = Object.keys(EVENTS) as EventName[]
  return Object.fromEntries(
    names.flatMap((name) => {
      const teller = tellerOf(name)
      return teller === undefined ? [] : [[name, teller]]
    }),
  )
}
