import { describe, expect, it } from 'vitest'
import { duration, offsetOrEnd, offsetOrPosition, position, size } from '../../../broker/cli/arguments.js'

const refusal = (read: () => unknown): string => {
  try {
    return `read as ${read()}`
  } catch (error) {
    return (error as Error).message
  }
}

describe('an argument of the command line', () => {
  it('may be a duration or a size, as people write them', () => {
    expect(['7d', '10m', '500ms', '1.5h', '90'].map(duration)).toEqual([
      604_800_000, 600_000, 500, 5_400_000, 90,
    ])
    expect(['1GiB', '64mb', '1.5k', '4096'].map(size)).toEqual([1_073_741_824, 67_108_864, 1536, 4096])
  })

  it.each(['', '0', '0s', '-1d', '7 weeks', '1e3', '5 5'])(
    'is refused as a duration when it is "%s"',
    (text) => {
      expect(refusal(() => duration(text))).toBe('It must be a duration such as 30s, 10m or 500ms.')
    },
  )

  it.each(['', '0', '0GiB', '1 GB/s', '-1', '7d'])('is refused as a size when it is "%s"', (text) => {
    expect(refusal(() => size(text))).toBe('It must be a size such as 64MiB, 1GiB or 67108864.')
  })

  it('may be a place: an end, a time, and for some an offset', () => {
    const time = '2026-11-01T12:00:00Z'
    expect(['earliest', 'latest', time].map(position)).toEqual(['earliest', 'latest', new Date(time)])
    expect(offsetOrPosition('0')).toEqual({ offset: 0 })
    expect(offsetOrPosition('4_711')).toEqual({ offset: 4711 })
    expect(offsetOrPosition('2026')).toEqual({ offset: 2026 })
    expect(offsetOrPosition('2026-11-01')).toEqual(new Date('2026-11-01'))
    expect(['17', 'end'].map(offsetOrEnd)).toEqual([17, 'end'])
  })

  it.each(['', 'start', '-1', '1.5', '2026-13-01', 'Infinity'])(
    'is refused as a place when it is "%s"',
    (text) => {
      const time = 'a time such as 2026-11-01T12:00:00Z.'
      expect(refusal(() => position(text))).toBe(`It must be earliest, latest or ${time}`)
      expect(refusal(() => offsetOrPosition(text))).toBe(`It must be earliest, latest, an offset, or ${time}`)
      expect(refusal(() => offsetOrEnd(text))).toBe('It must be an offset, or end.')
    },
  )
})
