import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import {
  declareTopicOptions,
  describeOptions,
  type TopicOptionFlags,
  topicSettingsOf,
} from '../../../broker/cli/topic-options.js'

function settingsOf(...argv: string[]) {
  const command = declareTopicOptions(new Command(), { clearable: true }).exitOverride()
  command.configureOutput({ writeErr: () => {} })
  return topicSettingsOf(command.parse(argv, { from: 'user' }).opts<TopicOptionFlags>())
}

const NONE = {
  maxAgeMs: null,
  maxBytes: null,
  untilAcked: false,
  cursorIdleMs: null,
  maxLagBytes: null,
  onLag: 'keep',
} as const

describe("the flags of a topic's options", () => {
  it('set what they name and leave the rest alone', () => {
    expect(settingsOf()).toEqual({})
    expect(settingsOf('--max-age', '7d')).toEqual({ retention: { maxAgeMs: 604_800_000 } })
    expect(settingsOf('--dedup-window', '1h')).toEqual({ dedupWindowMs: 3_600_000 })
    expect(settingsOf('--public-cache')).toEqual({ publicCache: true })
    expect(settingsOf('--no-public-cache')).toEqual({ publicCache: false })
    const all = ['--max-bytes', '1GiB', '--until-acked', '--cursor-idle', '1d', '--max-lag-bytes', '1MiB']
    expect(settingsOf(...all, '--on-lag', 'drop')).toEqual({
      retention: {
        maxBytes: 1_073_741_824,
        untilAcked: true,
        cursorIdleMs: 86_400_000,
        maxLagBytes: 1_048_576,
        onLag: 'drop',
      },
    })
  })

  it('take a bound back when they begin with --no-', () => {
    const flags = [
      '--no-max-age',
      '--no-max-bytes',
      '--no-until-acked',
      '--no-cursor-idle',
      '--no-max-lag-bytes',
    ]
    const { onLag: _, ...bounds } = NONE
    expect(settingsOf(...flags)).toEqual({ retention: bounds })
  })

  it('are refused when they make no sense', () => {
    expect(() => settingsOf('--max-age', 'long')).toThrow('It must be a duration')
    expect(() => settingsOf('--max-bytes', '7d')).toThrow('It must be a size')
    expect(() => settingsOf('--dedup-window', '8d')).toThrow('It must be 1 s to 7 d.')
    expect(() => settingsOf('--dedup-window', '999ms')).toThrow('It must be 1 s to 7 d.')
    expect(() => settingsOf('--on-lag', 'wait')).toThrow('Allowed choices are keep, drop')
  })
})

describe("a topic's options on one line", () => {
  it('say what is kept, without rounding', () => {
    const line = (retention: object, dedupWindowMs = 600_000, publicCache = false) =>
      describeOptions({ retention: { ...NONE, ...retention }, dedupWindowMs, publicCache })
    expect(line({})).toBe('keeps all records; dedup window 10 min')
    expect(line({}, 600_000, true)).toBe('keeps all records; dedup window 10 min; in public caches')
    expect(line({ maxAgeMs: 604_800_000, maxBytes: 1_500_000_000, untilAcked: true })).toBe(
      'keeps up to 7 d, up to 1500000000 B a partition, until acknowledged; dedup window 10 min',
    )
    expect(line({ cursorIdleMs: 90_000, maxLagBytes: 1024, onLag: 'drop' }, 1500)).toBe(
      'keeps idle cursors up to 90 s, lag up to 1 KiB (then drop); dedup window 1500 ms',
    )
  })
})
