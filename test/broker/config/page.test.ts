import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { configurationPage } from '../../../broker/config/page.js'
import {
  flagOf,
  SETTING_GROUPS,
  SETTING_NAMES,
  SETTINGS,
  variableOf,
} from '../../../broker/config/settings.js'

const root = join(import.meta.dirname, '../../..')

/** Setting name to docstring, as `BrokerConfig` has them. */
function docstrings(): Map<string, string> {
  const source = readFileSync(join(root, 'broker/config/schema.ts'), 'utf8')
  const body = source.slice(source.indexOf('interface BrokerConfig'))
  return new Map(
    [...body.matchAll(/\/\*\* (.*) \*\/\n {2}readonly (\w+):/g)].map((m) => [m[2] ?? '', m[1] ?? '']),
  )
}

describe('the settings', () => {
  it('stand in docs/CONFIGURATION.md as the table has them', async () => {
    await expect(configurationPage()).toMatchFileSnapshot(join(root, 'docs/CONFIGURATION.md'))
  })

  it('have one sentence each, the same in the table and in the docstring', () => {
    const documented = docstrings()
    for (const name of SETTING_NAMES) expect(documented.get(name), name).toBe(SETTINGS[name].about)
  })

  it('stand under exactly one heading each', () => {
    const grouped = SETTING_GROUPS.flatMap(({ names }) => names)
    expect([...grouped].sort()).toEqual([...SETTING_NAMES].sort())
  })

  it('have a default within their own bounds', () => {
    for (const name of SETTING_NAMES) {
      const { default: value, min = value, max = value } = SETTINGS[name]
      expect((min as number) <= (value as number) && (value as number) <= (max as number), name).toBe(true)
    }
  })

  it('spell their flags and variables from their names', () => {
    expect(flagOf('walSegmentBytes')).toBe('--wal-segment-bytes')
    expect(variableOf('inFlightBytesPerConnection')).toBe('MILLRACE_IN_FLIGHT_BYTES_PER_CONNECTION')
  })
})
