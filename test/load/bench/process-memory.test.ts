import { describe, expect, it } from 'vitest'
import { cpuMsOf, memoryOf, parseRollup } from '../../../load/bench/process-memory.js'

const ROLLUP = `55e0c0000000-7ffd5e5ff000 ---p 00000000 00:00 0                          [rollup]
Rss:              102400 kB
Pss:               90000 kB
Anonymous:         51200 kB
LazyFree:              0 kB
AnonHugePages:      2048 kB
`

describe('the memory of a process', () => {
  it('is read from the lines of smaps_rollup', () => {
    expect(parseRollup(ROLLUP)).toEqual({ anonymousBytes: 50 * 2 ** 20, rssBytes: 100 * 2 ** 20 })
  })

  it('is refused where a line is missing, not taken for nothing', () => {
    expect(() => parseRollup('Rss: 1 kB\n')).toThrow('no Anonymous')
  })

  it.runIf(process.platform === 'linux')('and its CPU time can be read of this process', async () => {
    const { anonymousBytes, rssBytes } = await memoryOf(process.pid)
    expect(anonymousBytes).toBeGreaterThan(1e6)
    expect(rssBytes).toBeGreaterThanOrEqual(anonymousBytes)
    const usedMs = (): number => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1_000
    }
    // The kernel counts it in ticks of some milliseconds.
    const tickMs = 50
    const beforeMs = usedMs()
    const cpuMs = await cpuMsOf(process.pid)
    expect(cpuMs).toBeGreaterThan(beforeMs - tickMs)
    expect(cpuMs).toBeLessThan(usedMs() + tickMs)
  })
})
