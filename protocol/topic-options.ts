/** What a topic does with its records besides keeping them: retention, guards against forgotten readers, dedup ids, caches. */
import { HARD_LIMITS } from './limits.js'
import { bool, choice, nullable, type TypeOf, tail, tuple, uint } from './shape.js'

/** What becomes of a reader whose lag passes `maxLagBytes`. On disk and on the wire: never renumbered. */
export const ON_LAG = { keep: 0, drop: 1 } as const
export type OnLag = keyof typeof ON_LAG

/** A topic's options as they hold, every default filled in. */
export const topicOptions = tuple({
  /** Chunks whose last record is older are deleted, read or not; nil: never. */
  maxAgeMs: nullable(uint()),
  /** Of each partition: the oldest chunks beyond are deleted, read or not; nil: never. */
  maxBytes: nullable(uint()),
  /** Chunks that every cursor of the partition has passed are deleted; with no cursor none is. */
  untilAcked: bool(),
  /** A cursor that has not moved for so long is deleted, while its group has no member; nil: never. */
  cursorIdleMs: nullable(uint()),
  /** Of each partition: how far a cursor may fall behind before `onLag` holds; nil: without bound. */
  maxLagBytes: nullable(uint()),
  /** A cursor beyond `maxLagBytes` still keeps its chunks (`keep`), or no longer does (`drop`). */
  onLag: choice(ON_LAG),
  /** How long a dedup id is remembered at least. */
  dedupWindowMs: uint(HARD_LIMITS.dedupWindowMsMax),
  /** Whether caches that many share may keep its chunks; not there: no. */
  publicCache: tail(bool()),
})
export type TopicOptions = Readonly<TypeOf<typeof topicOptions>>

/** The names of the options, in their order on the wire and on disk. */
export const TOPIC_OPTION_NAMES = [
  'maxAgeMs',
  'maxBytes',
  'untilAcked',
  'cursorIdleMs',
  'maxLagBytes',
  'onLag',
  'dedupWindowMs',
  'publicCache',
] as const satisfies readonly (keyof TopicOptions)[]
export type TopicOptionName = (typeof TOPIC_OPTION_NAMES)[number]

/** What a topic has that was asked for nothing else: it keeps its records. */
export const DEFAULT_TOPIC_OPTIONS: TopicOptions = {
  maxAgeMs: null,
  maxBytes: null,
  untilAcked: false,
  cursorIdleMs: null,
  maxLagBytes: null,
  onLag: 'keep',
  dedupWindowMs: 10 * 60_000,
  publicCache: undefined,
}

/** Options to set; nil leaves one as it is. */
export const topicOptionsPatch = tuple({
  maxAgeMs: nullable(uint()),
  maxBytes: nullable(uint()),
  untilAcked: nullable(bool()),
  cursorIdleMs: nullable(uint()),
  maxLagBytes: nullable(uint()),
  onLag: nullable(choice(ON_LAG)),
  dedupWindowMs: nullable(uint(HARD_LIMITS.dedupWindowMsMax)),
  publicCache: tail(bool()),
})
export type TopicOptionsPatch = Readonly<TypeOf<typeof topicOptionsPatch>>

/** Leaves all options as they are. */
export const EMPTY_TOPIC_OPTIONS_PATCH: TopicOptionsPatch = {
  maxAgeMs: null,
  maxBytes: null,
  untilAcked: null,
  cursorIdleMs: null,
  maxLagBytes: null,
  onLag: null,
  dedupWindowMs: null,
}

/** `base` with the names of `clear` back at their defaults and what `patch` sets. */
export function patchedTopicOptions(
  base: TopicOptions,
  { patch, clear = [] }: { patch: TopicOptionsPatch; clear?: readonly TopicOptionName[] },
): TopicOptions {
  const options: Record<string, unknown> = { ...base }
  for (const name of clear) options[name] = DEFAULT_TOPIC_OPTIONS[name]
  for (const name of TOPIC_OPTION_NAMES) options[name] = patch[name] ?? options[name]
  return options as unknown as TopicOptions
}

/** Why a change of options is refused, or undefined when it is legal. `clear` holds names as they came from outside. */
export function illegalTopicOptions(
  patch: TopicOptionsPatch,
  clear: readonly string[] = [],
): string | undefined {
  const { dedupWindowMs } = patch
  const { dedupWindowMsMin, dedupWindowMsMax } = HARD_LIMITS
  if (dedupWindowMs !== null && (dedupWindowMs < dedupWindowMsMin || dedupWindowMs > dedupWindowMsMax)) {
    return `dedupWindowMs is ${dedupWindowMs}, ${dedupWindowMsMin} to ${dedupWindowMsMax} are allowed`
  }
  for (const name of ['maxAgeMs', 'maxBytes', 'cursorIdleMs', 'maxLagBytes'] as const) {
    if (patch[name] === 0) return `${name} is 0: leave it out, or clear it, for no bound`
  }
  for (const name of clear) {
    if (!isTopicOptionName(name)) return `there is no option "${name}" to clear`
    if ((patch[name] ?? null) !== null) return `${name} is set and cleared at once`
  }
  return undefined
}

/** Whether a name from outside is that of an option. */
export const isTopicOptionName = (name: string): name is TopicOptionName =>
  (TOPIC_OPTION_NAMES as readonly string[]).includes(name)
