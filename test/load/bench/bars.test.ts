import { describe, expect, it } from 'vitest'
import { ROWS, rowsBeside } from '../../../load/bench/bars.js'
import { FIGURES } from '../../../load/bench/figures/index.js'
import { JETSTREAM, REDIS } from '../../../load/bench/peer-series.js'
import { peers } from '../../../load/peers/index.js'

describe('the rows of the table', () => {
  it('belong to figures that exist, and every figure has one', () => {
    const names = FIGURES.map(({ name }) => name)
    expect([...new Set(ROWS.map(({ figure }) => figure))].sort()).toEqual([...names].sort())
    expect(new Set(names).size).toBe(names.length)
  })

  it('have a bar with a limit, and a yardstick where the bar is for a ratio or a difference', () => {
    for (const { label, bar, yardstick } of ROWS) {
      if (bar === undefined) continue
      expect(bar.atLeast ?? bar.atMost, label).toBeDefined()
      if (bar.of !== 'value') expect(yardstick, label).toBeDefined()
    }
  })

  it('take peers as yardsticks that exist and are durable', () => {
    for (const name of [REDIS, JETSTREAM]) {
      expect(peers.find((peer) => peer.name === name)?.isDurable, name).toBe(true)
      expect(ROWS.some(({ yardstick }) => yardstick === name)).toBe(true)
    }
  })

  it('have none for a peer beside, and none more for a peer that they name', () => {
    const rows = rowsBeside([REDIS, 'Redis Streams, default'])
    expect(rows.length).toBeGreaterThan(0)
    expect(rows.every(({ bar }) => bar === undefined)).toBe(true)
    expect(rows.every(({ yardstick }) => yardstick?.startsWith('Redis Streams, default'))).toBe(true)
  })
})
