import type { EventFields } from '../platform/events.js'
import type { Metrics } from '../platform/metrics.js'

/** Counts and tells that a partition's start offset rose. */
export function countTruncation(metrics: Metrics, truncation: EventFields['truncation']): void {
  metrics.count('truncations')
  metrics.count('truncatedRecords', truncation.records)
  metrics.count('truncatedBytes', truncation.bytes)
  metrics.tell?.truncation?.(truncation)
}
