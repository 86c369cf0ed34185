import {
  DEFAULT_TOPIC_OPTIONS,
  EMPTY_TOPIC_OPTIONS_PATCH,
  illegalTopicOptions,
  type OnLag,
  TOPIC_OPTION_NAMES,
  type TopicOptionName,
  type TopicOptions,
  type TopicOptionsPatch,
} from '../protocol/topic-options.js'
import { illegalArgument } from './errors.js'

/** When records go. Whole chunks of some MiB go, never single records; without any of these nothing does. */
export interface Retention {
  /** Records older than so many milliseconds go, read or not. */
  readonly maxAgeMs?: number | null
  /** Of each partition: the oldest bytes beyond go, read or not. */
  readonly maxBytes?: number | null
  /** Records go once every consumer group and work queue of the partition has acknowledged them; with none they stay. */
  readonly untilAcked?: boolean | null
  /** A group's cursor that has not moved for so many milliseconds is deleted, while the group has no member. */
  readonly cursorIdleMs?: number | null
  /** Of each partition, bytes: how far a group may fall behind before `onLag` holds. */
  readonly maxLagBytes?: number | null
  /** Records wait for a group that is further behind than `maxLagBytes` ('keep', the default), or no longer do ('drop'). */
  readonly onLag?: OnLag | null
}

/** What a topic does with its records. In `alterTopic` null sets an option back to its default; what is left out stays. */
export interface TopicSettings {
  readonly retention?: Retention
  /** How long a `dedupId` is remembered at least, milliseconds: 1 s to 7 days, default 10 min. */
  readonly dedupWindowMs?: number | null
  /**
   * Whether caches that many share, a CDN for one, may keep sealed chunks that are read over HTTP; default false: a browser's own may.
   * What is deleted stays in caches.
   */
  readonly publicCache?: boolean | null
}

/** The settings as they hold, every default filled in; null: no bound. */
export interface TopicSettingsInForce {
  readonly retention: {
    readonly maxAgeMs: number | null
    readonly maxBytes: number | null
    readonly untilAcked: boolean
    readonly cursorIdleMs: number | null
    readonly maxLagBytes: number | null
    readonly onLag: OnLag
  }
  readonly dedupWindowMs: number
  readonly publicCache: boolean
}

type Given = { readonly [Name in keyof TopicSettings]: TopicSettings[Name] | undefined }

/** As it travels. Throws ILLEGAL_ARGUMENT. */
export function patchOf(settings: Given): { options: TopicOptionsPatch; clear: TopicOptionName[] } {
  const { retention = {}, dedupWindowMs, publicCache } = settings
  const given: Partial<Record<TopicOptionName, unknown>> = { ...retention, dedupWindowMs, publicCache }
  for (const name in given) {
    if (!(TOPIC_OPTION_NAMES as readonly string[]).includes(name))
      throw illegalArgument(`there is no option "${name}"`)
  }
  const clear = TOPIC_OPTION_NAMES.filter((name) => given[name] === null)
  const set = TOPIC_OPTION_NAMES.filter((name) => (given[name] ?? null) !== null)
  const entries = set.map((name) => [name, checked(name, given[name])] as const)
  const options = {
    ...EMPTY_TOPIC_OPTIONS_PATCH,
    ...(Object.fromEntries(entries) as Partial<TopicOptionsPatch>),
  }
  const why = illegalTopicOptions(options, clear)
  if (why !== undefined) throw illegalArgument(why)
  return { options, clear }
}

/** The compiler has looked at it, and JavaScript has not. */
function checked(name: TopicOptionName, value: unknown): unknown {
  const isFlag = name === 'untilAcked' || name === 'publicCache'
  if (isFlag ? typeof value === 'boolean' : name === 'onLag' ? isOnLag(value) : isWhole(value)) return value
  throw illegalArgument(`${name} cannot be ${String(value)}`)
}

const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isOnLag = (value: unknown): boolean => value === 'keep' || value === 'drop'

/** `options`: undefined when the broker does not tell, because it has none. */
export function settingsInForce(options: TopicOptions = DEFAULT_TOPIC_OPTIONS): TopicSettingsInForce {
  const { dedupWindowMs, publicCache = false, ...retention } = options
  return { retention, dedupWindowMs, publicCache }
}
