import type { Settings } from './environment.js'

/** What a VU does. */
export type Role = 'produce' | 'read' | 'work' | 'connect'

export interface Scenario {
  readonly name: string
  readonly summary: string
  readonly defaults: Partial<Settings>
}

const MIXED = { producers: 2, readers: 2, workers: 2, batchRecords: 20 }

/** Each has a file of its name in scenarios/. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'produce',
    summary: 'producers send as fast as acks come',
    defaults: { producers: 4 },
  },
  {
    name: 'tail',
    summary: 'a steady 5,000 records a second, and a reader at the end of the log',
    defaults: { producers: 1, readers: 1, recordsPerSecond: 5000, batchRecords: 10 },
  },
  {
    name: 'fan-out',
    summary: 'one partition, and 200 readers at its end',
    defaults: { producers: 1, readers: 200, partitions: 1, recordsPerSecond: 1000, batchRecords: 10 },
  },
  {
    name: 'mixed',
    summary: 'producers, readers and the workers of a queue, some jobs of which fail at first',
    defaults: { ...MIXED, recordsPerSecond: 2000 },
  },
  {
    name: 'soak',
    summary: 'mixed at half the rate for an hour, with every payload checked',
    defaults: { ...MIXED, recordsPerSecond: 1000, durationMs: 3_600_000, verify: 'payloads' },
  },
  {
    name: 'connection-storm',
    summary: '200 connections at a time that come, say HELLO and go',
    defaults: { connections: 200 },
  },
]

export const scenarioNamed = (name: string): Scenario | undefined =>
  SCENARIOS.find((scenario) => scenario.name === name)
