import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SCENARIOS, scenarioNamed } from '../../../load/k6/catalogue.js'
import { describeVariables, readSettings, VARIABLES } from '../../../load/k6/environment.js'
import { METRICS, thresholdsOf } from '../../../load/k6/thresholds.js'

const mixed = { name: 'mixed', defaults: { producers: 2, durationMs: 1000 } }

describe('the settings of a scenario', () => {
  it('come from the environment, then from the scenario, then from the table', () => {
    const settings = readSettings({ MILLRACE_PRODUCERS: '7', MILLRACE_RATE: '' }, mixed)
    expect(settings).toMatchObject({ producers: 7, durationMs: 1000, recordsPerSecond: 0, topic: 'k6-mixed' })
  })

  it('take durations with their unit, and URLs with or without a slash at the end', () => {
    const read = (text: string): number => readSettings({ MILLRACE_DURATION: text }, mixed).durationMs
    expect(['500ms', '30s', '10m', '2h'].map(read)).toEqual([500, 30_000, 600_000, 7_200_000])
    expect(readSettings({ MILLRACE_URL: 'wss://a.example:1/' }, mixed).url).toBe('wss://a.example:1')
  })

  it.each([
    ['MILLRACE_DURATION', '30'],
    ['MILLRACE_DURATION', '0s'],
    ['MILLRACE_URL', 'http://127.0.0.1:4600'],
    ['MILLRACE_URL', 'ws://127.0.0.1:4600/ws'],
    ['MILLRACE_IN_FLIGHT', '17'],
    ['MILLRACE_PRODUCERS', '-1'],
    ['MILLRACE_PRODUCERS', '1.5'],
    ['MILLRACE_VERIFY', 'nothing'],
  ])('refuse %s=%s and name the variable', (name, value) => {
    expect(() => readSettings({ [name]: value }, mixed)).toThrow(new RegExp(`^${name}: expected .*got "`))
  })

  it('are refused when nobody would do anything', () => {
    expect(() => readSettings({ MILLRACE_PRODUCERS: '0' }, mixed)).toThrow('there is nothing to run')
  })

  it('are all in the help and in the README', () => {
    const readme = readFileSync(new URL('../../../load/k6/README.md', import.meta.url), 'utf8')
    for (const { name } of Object.values(VARIABLES)) {
      expect(describeVariables()).toContain(`  ${name} `)
      expect(readme).toContain(`| \`${name}\` |`)
    }
    for (const { name } of SCENARIOS) expect(readme).toContain(`| \`${name}\` |`)
    for (const name of Object.values(METRICS)) expect(readme).toContain(`| \`${name}\` |`)
  })
})

describe('the thresholds', () => {
  const of = (name: string): Record<string, string[]> => {
    const scenario = scenarioNamed(name)
    if (scenario === undefined) throw new Error(name)
    return thresholdsOf(readSettings({}, scenario))
  }

  it('fail every scenario for one error', () => {
    for (const { name } of SCENARIOS) expect(of(name)).toMatchObject({ millrace_errors: ['count==0'] })
  })

  it('want each role to have done something', () => {
    expect(of('mixed')).toEqual({
      millrace_errors: ['count==0'],
      millrace_records_produced: ['count>0'],
      millrace_ack_ms: ['p(99)<=1000'],
      millrace_records_consumed: ['count>0'],
      millrace_end_to_end_ms: ['p(99)<=1000'],
      millrace_jobs_done: ['count>0'],
      millrace_redeliveries: ['count>0'],
    })
  })
})
