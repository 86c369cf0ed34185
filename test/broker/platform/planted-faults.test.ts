import { describe, expect, it } from 'vitest'
import {
  ArmedFailpoints,
  type Failpoints,
  failpointNames,
  failpointsFromEnvironment,
  noFailpoints,
} from '../../../broker/platform/failpoints.js'
import { plantedFaultNames } from '../../../broker/platform/planted-faults.js'
import { readSources } from '../../tidy/source-files.js'

const broker = [...readSources(['broker'])]

describe('a planted fault', () => {
  it('is in no broker that a test has not given one', () => {
    const environment = failpointsFromEnvironment({ MILLRACE_FAILPOINTS: `${failpointNames[0]}=kill` })
    const all: readonly Failpoints[] = [noFailpoints, new ArmedFailpoints(), environment]
    for (const failpoints of all) expect(failpoints.planted).toBeUndefined()
  })

  it.each(plantedFaultNames)('cannot be named in the environment: %s', (name) => {
    for (const part of [name, `${name}=kill`, `${name}=plant`, `planted=${name}`])
      expect(() => failpointsFromEnvironment({ MILLRACE_FAILPOINTS: part })).toThrow('cannot read')
  })

  it('is unknown to configuration, command line and sessions', () => {
    const faces = broker.filter(([path]) =>
      /^broker\/((config|cli|session)\/|(main|index|broker|listener)\.ts$)/.test(path),
    )
    expect(faces.length).toBeGreaterThan(30)
    expect(faces.flatMap(([path, text]) => (/planted/i.test(text) ? [path] : []))).toEqual([])
  })

  it('is made over HTTP where a test serves it with failpoints, which a broker never does', () => {
    const lines = broker.flatMap(([path, text]) => (path.startsWith('broker/http/') ? text.split('\n') : []))
    const mentions = lines.filter((line) => /planted/i.test(line))
    expect(mentions.length).toBeGreaterThan(0)
    for (const line of mentions) expect(line).toMatch(/failpoints\?\.planted [!=]== '\w+'/)
    const [, served] = /http\.serve\(([^)]*)\)/.exec(new Map(broker).get('broker/listener.ts') ?? '') ?? []
    expect(served).toMatch(/^\{[\w, ]+\}$/)
    expect(served).not.toContain('failpoints')
  })

  it('has a point in the broker where it is made', () => {
    const points = broker.filter(([path]) => !path.endsWith('planted-faults.ts'))
    const missing = plantedFaultNames.filter((name) => !points.some(([, text]) => text.includes(`'${name}'`)))
    expect(missing).toEqual([])
  })
})
