import './baseline.js'
import { prepareBatch } from '../batch.js'
import { type Role, scenarioNamed } from '../catalogue.js'
import { readSettings, type Settings } from '../environment.js'
import { ensureTopic, type LoadTopic } from '../load-topic.js'
import { LoadProducer } from '../producer.js'
import { LoadReader } from '../reader.js'
import type { Session } from '../session.js'
import { thresholdsOf } from '../thresholds.js'
import { LoadWorker } from '../worker.js'
import { connect, k6Clock } from './connect.js'
import { k6Measures } from './metrics.js'

/** What a scenario's file exports: k6 reads `options` and calls the others, one per VU. */
export type LoadScript = { readonly options: object } & Readonly<Record<Role, () => void>>

/** Something with a beginning and an end: a producer, a reader or a worker. */
interface Part {
  start(): void
  stop(done: () => void): void
}

/** Readers and workers go on a little, to see what producers sent last. */
const AFTER_PRODUCERS_MS = 1000
/** Waiting for the last acks is part of an iteration; k6 must not cut it short. */
const DRAIN_MS = 60_000
const RECONNECT_MS = 500

function k6Options(settings: Settings): object {
  const vus: Readonly<Record<Role, number>> = {
    produce: settings.producers,
    read: settings.readers,
    work: settings.workers,
    connect: settings.connections,
  }
  const scenarios: Record<string, object> = {}
  for (const [role, count] of Object.entries(vus)) {
    if (count === 0) continue
    const schedule =
      role === 'connect'
        ? { executor: 'constant-vus', duration: `${settings.durationMs}ms` }
        : { executor: 'per-vu-iterations', iterations: 1, maxDuration: `${settings.durationMs + DRAIN_MS}ms` }
    scenarios[role] = { ...schedule, exec: role, vus: count, gracefulStop: '30s' }
  }
  return {
    scenarios,
    thresholds: thresholdsOf(settings),
    summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max'],
  }
}

/** Everything of one scenario. Throws, and so ends k6, when a variable is not what it should be. */
export function load(name: string): LoadScript {
  const scenario = scenarioNamed(name)
  if (scenario === undefined) throw new Error(`there is no scenario "${name}"`)
  const settings = readSettings(__ENV, scenario)
  const measures = k6Measures()
  const clock = k6Clock(measures)
  const { url, topic, partitions, topicMaxBytes, durationMs } = settings
  const common = { measures, clock }

  const during = (ms: number, partOf: (session: Session, topic: LoadTopic) => Part): void => {
    measures.begin()
    connect({ url, measures }, (session) =>
      ensureTopic(session, { name: topic, partitions, maxBytes: topicMaxBytes }, (loadTopic) => {
        const part = partOf(session, loadTopic)
        part.start()
        const cancel = clock.after(ms, () => part.stop(() => session.close()))
        session.onClosed(cancel)
      }),
    )
  }

  return {
    options: k6Options(settings),
    produce() {
      const { recordBytes, batchRecords, inFlight, recordsPerSecond } = settings
      const batch = prepareBatch({ recordBytes, recordCount: batchRecords })
      const options = { ...common, batch, inFlight, recordsPerSecond }
      during(durationMs, (session, loadTopic) => new LoadProducer({ ...options, session, topic: loadTopic }))
    },
    read() {
      const { from, verify } = settings
      during(
        durationMs + AFTER_PRODUCERS_MS,
        (session, loadTopic) => new LoadReader({ ...common, from, verify, session, topic: loadTopic }),
      )
    },
    work() {
      const { group, prefetch, failEvery, from } = settings
      const options = { ...common, group, prefetch, failEvery, from }
      during(
        durationMs + AFTER_PRODUCERS_MS,
        (session, loadTopic) => new LoadWorker({ ...options, session, topic: loadTopic }),
      )
    },
    connect() {
      measures.begin()
      let isWelcome = false
      const session = connect({ url, measures }, () => {
        isWelcome = true
        clock.after(settings.holdMs, () => session.close())
      })
      session.onClosed(() => {
        // k6 begins the next iteration at once: a broker that refuses must not be asked without a pause.
        if (!isWelcome) clock.after(RECONNECT_MS, () => {})
      })
    },
  }
}
