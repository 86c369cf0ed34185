import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DiskError } from '../../../broker/platform/disk.js'
import {
  ArmedFailpoints,
  type FailpointName,
  type Failpoints,
  failpointsFromEnvironment,
  noFailpoints,
} from '../../../broker/platform/failpoints.js'
import { ChildScript } from '../../support/child-script.js'

function armed(text: string): Failpoints {
  return failpointsFromEnvironment({ MILLRACE_FAILPOINTS: text })
}

/** Which of the first six hits throw, and what. */
function outcomes(failpoints: Failpoints, name: FailpointName): string[] {
  return Array.from({ length: 6 }, () => {
    try {
      expect(failpoints.hit(name)).toBeUndefined()
      return '-'
    } catch (error) {
      expect(error).toBeInstanceOf(DiskError)
      return (error as DiskError).code
    }
  })
}

describe('failpointsFromEnvironment', () => {
  it('arms nothing when the variable is missing or empty', () => {
    expect(failpointsFromEnvironment({})).toBe(noFailpoints)
    expect(armed(' ')).toBe(noFailpoints)
  })

  it('fails at the hit it was told, at the first one by default, from it on with a plus', () => {
    const failpoints = armed('walAfterWrite=eio@3, chunkAfterWrite=enospc,sealBeforeCommit=eio@5+')
    expect(outcomes(failpoints, 'walAfterWrite')).toEqual(['-', '-', 'EIO', '-', '-', '-'])
    expect(outcomes(failpoints, 'chunkAfterWrite')).toEqual(['ENOSPC', '-', '-', '-', '-', '-'])
    expect(outcomes(failpoints, 'sealBeforeCommit')).toEqual(['-', '-', '-', '-', 'EIO', 'EIO'])
    expect(outcomes(failpoints, 'walBeforeWrite')).toEqual(['-', '-', '-', '-', '-', '-'])
  })

  it('takes several actions for one failpoint', () => {
    const failpoints = armed('walAfterWrite=eio@2,walAfterWrite=enospc@4')
    expect(outcomes(failpoints, 'walAfterWrite')).toEqual(['-', 'EIO', '-', 'ENOSPC', '-', '-'])
  })

  it.each([
    ['walAfterwrite=kill', /known failpoints: walBeforeWrite, /],
    ['walAfterWrite=explode', /known actions: kill, eio, enospc/],
    ['walAfterWrite=toString', /known actions/],
    ['walAfterWrite=kill@0', /counted from 1/],
    ['walAfterWrite=kill@x', /expected name=action/],
    ['walAfterWrite', /expected name=action/],
    ['walAfterWrite=kill,,', /cannot read ""/],
  ])('refuses %j and says what is allowed', (text, message) => {
    expect(() => armed(text)).toThrow(message)
    expect(() => armed(text)).toThrow(/^MILLRACE_FAILPOINTS: cannot read /)
  })

  describe('in a process of its own', () => {
    let script: ChildScript
    beforeAll(async () => {
      script = await ChildScript.compile(new URL('failpoint-victim.ts', import.meta.url))
    })
    afterAll(() => script.remove())

    it('kills it at the hit it was told, before another statement runs', async () => {
      const victim = script.start({ MILLRACE_FAILPOINTS: 'walAfterWrite=kill@4' })
      const said: string[] = []
      for (let line = await victim.line(); line !== undefined; line = await victim.line()) said.push(line)
      expect(said).toEqual(['1', '2', '3'])
      expect(await victim.ended()).toBe('SIGKILL')
    })
  })
})

describe('ArmedFailpoints', () => {
  it('holds the caller up for as long as its action takes', async () => {
    const failpoints = new ArmedFailpoints()
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    failpoints.arm('ackBeforeSend', () => released, { at: 2 })
    expect(failpoints.hit('ackBeforeSend')).toBeUndefined()
    const held = failpoints.hit('ackBeforeSend')
    const state = await Promise.race([held?.then(() => 'passed'), Promise.resolve('held')])
    expect(state).toBe('held')
    release()
    await held
    expect(failpoints.hits('ackBeforeSend')).toBe(2)
  })

  it('counts hits from the moment it is armed', () => {
    const failpoints = new ArmedFailpoints()
    let calls = 0
    failpoints.hit('walBeforeRoll')
    failpoints.arm('walBeforeRoll', () => void calls++, { at: 2 })
    failpoints.hit('walBeforeRoll')
    expect(calls).toBe(0)
    failpoints.hit('walBeforeRoll')
    expect(calls).toBe(1)
  })
})
