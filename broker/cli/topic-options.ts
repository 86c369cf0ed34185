import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Retention, TopicSettings, TopicSettingsInForce } from '../../client/index.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import { formatBytes, formatDuration } from '../config/values.js'
import { duration, size } from './arguments.js'

/** The flags of a topic's options as they were given; `false` where the option goes back to its default. */
export interface TopicOptionFlags {
  /** Milliseconds. */
  readonly maxAge?: number | false
  readonly maxBytes?: number | false
  readonly untilAcked?: boolean
  /** Milliseconds. */
  readonly cursorIdle?: number | false
  readonly maxLagBytes?: number | false
  readonly onLag?: 'keep' | 'drop'
  /** Milliseconds. */
  readonly dedupWindow?: number
  readonly publicCache?: boolean
}

/** Options that bound something, and so can be taken back. */
const BOUNDS = [
  ['--max-age', '<time>', duration, 'delete records that are older, read or not'],
  ['--max-bytes', '<size>', size, 'delete the oldest records of a partition beyond this, read or not'],
  ['--cursor-idle', '<time>', duration, 'delete the cursor of a group that was away for so long'],
  ['--max-lag-bytes', '<size>', size, 'how far a group may be behind before --on-lag holds'],
] as const

/** Declares the flags of the options that a topic has besides its partitions and encodings. */
export function declareTopicOptions(command: Command, { clearable }: { clearable: boolean }): Command {
  for (const [flag, argument, parse, about] of BOUNDS) {
    command.addOption(new Option(`${flag} ${argument}`, about).argParser(parse))
    if (clearable) command.option(`--no-${flag.slice(2)}`, 'no such bound any more')
  }
  command.option('--until-acked', 'delete records that every group of the topic has acknowledged')
  if (clearable) command.option('--no-until-acked', 'keep them')
  command.option('--public-cache', 'caches that many share, a CDN for one, may keep its sealed chunks')
  if (clearable) command.option('--no-public-cache', 'only caches of one user may')
  return command
    .addOption(
      new Option(
        '--on-lag <what>',
        'a group beyond --max-lag-bytes keeps its records from deletion, or does not',
      ).choices(['keep', 'drop']),
    )
    .addOption(
      new Option('--dedup-window <time>', 'how long a dedup id is remembered, 7d at most').argParser(
        dedupWindow,
      ),
    )
}

function dedupWindow(text: string): number {
  const ms = duration(text)
  const { dedupWindowMsMin, dedupWindowMsMax } = HARD_LIMITS
  if (ms >= dedupWindowMsMin && ms <= dedupWindowMsMax) return ms
  const range = `${formatDuration(dedupWindowMsMin)} to ${formatDuration(dedupWindowMsMax)}`
  throw new InvalidArgumentError(`It must be ${range}.`)
}

/** What the flags say, as the client takes it; nothing for what they leave alone, null for what goes back to its default. */
export function topicSettingsOf(flags: TopicOptionFlags): TopicSettings {
  const { maxAge, maxBytes, untilAcked, cursorIdle, maxLagBytes, onLag } = flags
  const retention: Retention = {
    ...(maxAge === undefined ? {} : { maxAgeMs: maxAge || null }),
    ...(maxBytes === undefined ? {} : { maxBytes: maxBytes || null }),
    ...(untilAcked === undefined ? {} : { untilAcked }),
    ...(cursorIdle === undefined ? {} : { cursorIdleMs: cursorIdle || null }),
    ...(maxLagBytes === undefined ? {} : { maxLagBytes: maxLagBytes || null }),
    ...(onLag === undefined ? {} : { onLag }),
  }
  return {
    ...(Object.keys(retention).length === 0 ? {} : { retention }),
    ...(flags.dedupWindow === undefined ? {} : { dedupWindowMs: flags.dedupWindow }),
    ...(flags.publicCache === undefined ? {} : { publicCache: flags.publicCache }),
  }
}

/** A topic's options on one line, as people read them. */
export function describeOptions({ retention, dedupWindowMs, publicCache }: TopicSettingsInForce): string {
  const { maxAgeMs, maxBytes, untilAcked, cursorIdleMs, maxLagBytes, onLag } = retention
  const rules: string[] = []
  if (maxAgeMs !== null) rules.push(`up to ${formatDuration(maxAgeMs)}`)
  if (maxBytes !== null) rules.push(`up to ${formatBytes(maxBytes)} a partition`)
  if (untilAcked) rules.push('until acknowledged')
  if (cursorIdleMs !== null) rules.push(`idle cursors up to ${formatDuration(cursorIdleMs)}`)
  if (maxLagBytes !== null) rules.push(`lag up to ${formatBytes(maxLagBytes)} (then ${onLag})`)
  const kept = rules.length === 0 ? 'all records' : rules.join(', ')
  const caching = publicCache ? '; in public caches' : ''
  return `keeps ${kept}; dedup window ${formatDuration(dedupWindowMs)}${caching}`
}
