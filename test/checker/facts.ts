import type { Fact, HistoryEvent, Seen } from './history.js'

/** Short words for hand-made histories: of topic "t", partition 0, group "g", unless it is said otherwise. */

const place = { topicId: 't', partition: 0 } as const
const inGroup = { group: 'g', ...place } as const

type FactOf<Type extends Fact['type']> = Extract<Fact, { readonly type: Type }>
type More<Type extends Fact['type']> = Partial<FactOf<Type>>

/** Facts in the order in which they are given; one with `atMs` happens then. */
export function historyOf(...facts: readonly (Fact & { readonly atMs?: number })[]): HistoryEvent[] {
  return facts.map((fact, index) => ({ index, ...fact }))
}

export const topic = (more: More<'topic'> = {}): FactOf<'topic'> =>
  fact({ type: 'topic', topicId: 't', name: 't', partitions: 2, ...more })

/** Asked for by process "p". */
export const write = (op: number, values: readonly string[], more: More<'write'> = {}): FactOf<'write'> =>
  fact({ type: 'write', op, process: 'p', records: values.map((value) => ({ ...place, value })), ...more })

/** One record. */
export const writeId = (op: number, value: string, dedupId: string): FactOf<'write'> =>
  write(op, [value], { records: [{ ...place, value, dedupId }] })

export const written = (op: number, ...offsets: readonly number[]): FactOf<'written'> =>
  fact({ type: 'written', op, places: offsets.map((offset) => ({ partition: 0, offset })) })

export const duplicate = (op: number, offset: number): FactOf<'written'> =>
  fact({ type: 'written', op, places: [{ partition: 0, offset, duplicate: true }] })

export const done = (op: number): FactOf<'done'> => fact({ type: 'done', op })
export const refused = (op: number): FactOf<'refused'> => fact({ type: 'refused', op })
export const unknown = (op: number): FactOf<'unknown'> => fact({ type: 'unknown', op })

/** Without holes, by reader "r". */
export const read = (from: number, values: readonly string[], more: More<'read'> = {}): FactOf<'read'> =>
  fact({
    type: 'read',
    reader: 'r',
    ...place,
    from,
    next: from + values.length,
    records: seen(from, values),
    ...more,
  })

/** The whole of it. */
export const log = (values: readonly string[], more: More<'log'> = {}): FactOf<'log'> => {
  const startOffset = more.startOffset ?? 0
  const endOffset = startOffset + values.length
  return fact({ type: 'log', ...place, startOffset, endOffset, records: seen(startOffset, values), ...more })
}

export const bounds = (startOffset: number, endOffset: number, more: More<'bounds'> = {}): FactOf<'bounds'> =>
  fact({ type: 'bounds', ...place, startOffset, endOffset, ...more })

export const assigned = (member: string, cursor: number, more: More<'assigned'> = {}): FactOf<'assigned'> =>
  fact({ type: 'assigned', ...inGroup, member, cursor, ...more })

export const given = (member: string, from: number, values: readonly string[]): FactOf<'given'> =>
  fact({ type: 'given', ...inGroup, member, from, next: from + values.length, records: seen(from, values) })

export const ack = (op: number, member: string, offset: number, more: More<'ack'> = {}): FactOf<'ack'> =>
  fact({ type: 'ack', op, ...inGroup, member, offset, ...more })

export const cursor = (offset: number, more: More<'cursor'> = {}): FactOf<'cursor'> =>
  fact({ type: 'cursor', ...inGroup, offset, ...more })

export const reset = (op: number, offset: number): FactOf<'reset'> =>
  fact({ type: 'reset', op, ...inGroup, offset })

export const leased = (member: string, offset: number, more: More<'leased'> = {}): FactOf<'leased'> =>
  fact({ type: 'leased', ...inGroup, member, offset, count: 1, ...more })

export const settle = (
  op: number,
  member: string,
  offset: number,
  more: More<'settle'> = {},
): FactOf<'settle'> => fact({ type: 'settle', op, kind: 'ack', ...inGroup, member, offset, ...more })

export const deleteBefore = (op: number, offset: number): FactOf<'deleteBefore'> =>
  fact({ type: 'deleteBefore', op, ...place, offset })

/** Somebody was told where the stream "t" ends. */
export const streamEnd = (
  endOffset: number,
  isClosed: boolean,
  more: More<'streamEnd'> = {},
): FactOf<'streamEnd'> => fact({ type: 'streamEnd', ...place, endOffset, isClosed, ...more })

/** Of the records [0, 2), unless it is said otherwise. */
export const chunk = (digest: string, more: More<'chunk'> = {}): FactOf<'chunk'> =>
  fact({ type: 'chunk', url: '/c', digest, ...place, from: 0, next: 2, ...more })

export const chunkGone = (more: More<'chunkGone'> = {}): FactOf<'chunkGone'> =>
  fact({ type: 'chunkGone', url: '/c', ...place, from: 0, next: 2, ...more })

const seen = (from: number, values: readonly string[]): Seen[] => values.map((value, i) => [from + i, value])

/** The compiler cannot see that defaults and overrides together are whole. */
function fact<Type extends Fact['type']>(
  parts: { readonly type: Type } & Readonly<Record<string, unknown>>,
): FactOf<Type> {
  return parts as unknown as FactOf<Type>
}
