import type { Settings } from './environment.js'

/** The names of the metrics in k6's summary and outputs. */
export const METRICS = {
  ack: 'millrace_ack_ms',
  endToEnd: 'millrace_end_to_end_ms',
  settle: 'millrace_settle_ms',
  connect: 'millrace_connect_ms',
  produced: 'millrace_records_produced',
  consumed: 'millrace_records_consumed',
  done: 'millrace_jobs_done',
  redelivered: 'millrace_redeliveries',
  errors: 'millrace_errors',
} as const

/**
 * What fails a run. A metric without any sample has no threshold to fail, so that each role must also have done something.
 */
export function thresholdsOf(settings: Settings): Record<string, string[]> {
  const thresholds: Record<string, string[]> = { [METRICS.errors]: ['count==0'] }
  if (settings.producers > 0) {
    thresholds[METRICS.produced] = ['count>0']
    thresholds[METRICS.ack] = [`p(99)<=${settings.ackP99MsMax}`]
  }
  if (settings.readers > 0) {
    thresholds[METRICS.consumed] = ['count>0']
    if (settings.producers > 0) thresholds[METRICS.endToEnd] = [`p(99)<=${settings.endToEndP99MsMax}`]
  }
  if (settings.workers > 0) {
    thresholds[METRICS.done] = ['count>0']
    if (settings.failEvery > 0) thresholds[METRICS.redelivered] = ['count>0']
  }
  if (settings.connections > 0) thresholds[METRICS.connect] = [`p(99)<=${settings.connectP99MsMax}`]
  return thresholds
}
