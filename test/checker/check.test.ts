import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkHistory, rules } from './check.js'
import { readHistory, writeHistory } from './history-file.js'
import { legalHistory } from './model/model-history.js'

describe('the history checker', () => {
  it('finds nothing in histories of a broker that keeps its promises', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0 }), fc.integer({ min: 1, max: 400 }), (seed, steps) => {
        expect(checkHistory(legalHistory({ seed, steps }))).toEqual([])
      }),
      { numRuns: 150 },
    )
  })

  it('finds the same in a history that was written to a file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'millrace-history-'))
    try {
      const path = join(directory, 'history.ndjson')
      const lie = legalHistory({ seed: 1, steps: 200 }).filter(({ type }) => type !== 'write')
      const unasked = lie.filter(({ type }) => type !== 'written' && type !== 'unknown' && type !== 'refused')
      await writeHistory(path, unasked)
      const read = await readHistory(path)
      expect(read).toEqual(JSON.parse(JSON.stringify(unasked)))
      expect(checkHistory(read).length).toBeGreaterThan(0)
      expect(checkHistory(read)).toEqual(JSON.parse(JSON.stringify(checkHistory(unasked))))
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it('refuses a history in which a request ends twice or was never asked for', () => {
    expect(() => checkHistory([{ index: 0, type: 'done', op: 1 }])).toThrow('nobody asked')
    const ack = {
      type: 'ack',
      op: 1,
      group: 'g',
      member: 'm',
      topicId: 't',
      partition: 0,
      offset: 1,
    } as const
    const twice = [
      { index: 0, ...ack },
      { index: 1, type: 'done', op: 1 },
      { index: 2, type: 'unknown', op: 1 },
    ] as const
    expect(() => checkHistory(twice)).toThrow('ended before')
  })

  it('has every rule once, in a file of its name, and its promise on the page', () => {
    const names = rules.map(({ name }) => name)
    const files = readdirSync(join(import.meta.dirname, 'rules')).filter((file) => !file.includes('.test.'))
    expect([...names].sort()).toEqual(files.map((file) => file.replace('.ts', '')).sort())
    const page = readFileSync(join(import.meta.dirname, 'README.md'), 'utf8')
    for (const { name, promise } of rules) expect(page).toContain(`| ${name} | ${promise} |`)
  })

  it('checks 50,000 events in about a quarter of a second', { timeout: 120_000 }, () => {
    const events = legalHistory({ seed: 7, steps: 60_000 })
    const before = process.cpuUsage()
    expect(checkHistory(events)).toEqual([])
    const { user } = process.cpuUsage(before)
    console.log(`${events.length} events in ${Math.round(user / 1000)} ms of CPU`)
    expect(events.length).toBeGreaterThan(50_000)
    // Several times what it takes: the processor may be shared, and collecting garbage counts.
    expect(user).toBeLessThan(2_500_000)
  })
})
