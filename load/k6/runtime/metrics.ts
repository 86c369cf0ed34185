import { Counter, Trend } from 'k6/metrics'
import type { Measures } from '../measures.js'
import { METRICS } from '../thresholds.js'

const LOGGED_MAX = 20

/** k6's metrics, which can only be made while it loads the script. */
export function k6Measures(): Measures & { begin(): void } {
  const ack = new Trend(METRICS.ack, true)
  const endToEnd = new Trend(METRICS.endToEnd, true)
  const settle = new Trend(METRICS.settle, true)
  const connect = new Trend(METRICS.connect, true)
  const produced = new Counter(METRICS.produced)
  const consumed = new Counter(METRICS.consumed)
  const done = new Counter(METRICS.done)
  const redelivered = new Counter(METRICS.redelivered)
  const errors = new Counter(METRICS.errors)
  let logged = 0
  return {
    /** k6 passes over the thresholds of a metric without samples: `count>0` has to see the 0. */
    begin: () => {
      for (const counter of [produced, consumed, done, redelivered, errors]) counter.add(0)
    },
    acked: (ms) => ack.add(ms),
    delivered: (ms) => endToEnd.add(ms),
    settled: (ms) => settle.add(ms),
    connected: (ms) => connect.add(ms),
    produced: (records) => produced.add(records),
    consumed: (records) => consumed.add(records),
    done: (jobs) => done.add(jobs),
    redelivered: (jobs) => redelivered.add(jobs),
    wrong: (kind, detail) => {
      errors.add(1, { kind })
      if (logged++ < LOGGED_MAX) console.error(`${kind}: ${detail}`)
    },
  }
}
