import { ENCODINGS, type Encoding } from '../../../protocol/encodings.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import {
  EMPTY_TOPIC_OPTIONS_PATCH,
  ON_LAG,
  type OnLag,
  TOPIC_OPTION_NAMES,
  type TopicOptionName,
  type TopicOptions,
  type TopicOptionsPatch,
} from '../../../protocol/topic-options.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { timeAsText } from '../record-text.js'
import { bool, choice, isoTime, nullable, object, optional, text, uint } from '../shape.js'

const onLag = choice(
  Object.keys(ON_LAG) as OnLag[],
  'What a reader further behind does: still wait for it, or not.',
)
/** How a topic's keys, or its values, are written. */
export const encoding = choice(Object.keys(ENCODINGS) as Encoding[])

const ms = (about: string) => uint({ about: `Milliseconds. ${about}` })
const bytes = (about: string) => uint({ about: `Bytes. ${about}` })

/** Settings in a request: null sets an option back to its default, what is left out stays as it is. */
export const settingsPatch = {
  retention: optional(
    object({
      maxAgeMs: optional(nullable(ms('Older records go, read or not.'))),
      maxBytes: optional(nullable(bytes('Of each partition: the oldest beyond go, read or not.'))),
      untilAcked: optional(nullable(bool('Records go once every group has acknowledged them.'))),
      cursorIdleMs: optional(nullable(ms('A cursor that has not moved for so long is deleted.'))),
      maxLagBytes: optional(nullable(bytes('How far a group may fall behind before onLag holds.'))),
      onLag: optional(nullable(onLag)),
    }),
  ),
  dedupWindowMs: optional(
    nullable(
      uint({ max: HARD_LIMITS.dedupWindowMsMax, about: 'How long a dedupId is remembered at least.' }),
    ),
  ),
  publicCache: optional(nullable(bool('Caches that many share may keep its chunks; default false.'))),
}

/** Settings in an answer: as they hold, null for no bound. */
export const settingsInForce = {
  retention: object({
    maxAgeMs: nullable(uint()),
    maxBytes: nullable(uint()),
    untilAcked: bool(),
    cursorIdleMs: nullable(uint()),
    maxLagBytes: nullable(uint()),
    onLag,
  }),
  dedupWindowMs: uint(),
  publicCache: bool(),
}

/** A topic in an answer. */
export const topicFields = {
  name: text({ charsMax: HARD_LIMITS.topicNameCharsMax }),
  topicId: text({ charsMax: 32, about: 'Another one for each topic that ever had the name.' }),
  keyEncoding: encoding,
  valueEncoding: encoding,
  createdAt: isoTime(),
  internal: bool('Written by the broker alone.'),
  ...settingsInForce,
}

type Settings = Readonly<{
  retention?: Readonly<Partial<Record<TopicOptionName, unknown>>> | undefined
  dedupWindowMs?: number | null | undefined
  publicCache?: boolean | null | undefined
}>

/** Settings of a request as the shard takes them. */
export function patchOf({ retention, dedupWindowMs, publicCache }: Settings): {
  options: TopicOptionsPatch
  clear: TopicOptionName[]
} {
  const given: Partial<Record<TopicOptionName, unknown>> = { ...retention, dedupWindowMs, publicCache }
  const clear = TOPIC_OPTION_NAMES.filter((name) => given[name] === null)
  const set = TOPIC_OPTION_NAMES.filter((name) => (given[name] ?? null) !== null)
  const options = Object.fromEntries(set.map((name) => [name, given[name]])) as Partial<TopicOptionsPatch>
  return { options: { ...EMPTY_TOPIC_OPTIONS_PATCH, ...options }, clear }
}

/** What `settingsInForce` describes. */
export function settingsOf({ dedupWindowMs, publicCache = false, ...retention }: TopicOptions): object {
  return { retention, dedupWindowMs, publicCache }
}

/** What `topicFields` describe. */
export function topicBody({
  name,
  topicId,
  keyEncoding,
  valueEncoding,
  createdAt,
  internal,
  options,
}: TopicInfo): object {
  return {
    name,
    topicId,
    keyEncoding,
    valueEncoding,
    createdAt: timeAsText(createdAt),
    internal,
    ...settingsOf(options),
  }
}
