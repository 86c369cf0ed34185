import type { AtomicResult, SendResult } from '../../../client/index.js'
import type { Fact, WrittenPlace } from '../../checker/history.js'
import type { HistoryRecorder } from '../../checker/recorder.js'

type Asked = Extract<Fact, { op: number }>
/** A fact that asks for something, without its number. */
export type Question = Asked extends infer F ? (F extends unknown ? Omit<F, 'op'> : never) : never

/**
 * Records what is asked, does it, and records what came of it: `placesOf` tells of a write where its records are, if the answer
 * did. Resolves with the answer, or the error that was it.
 */
export async function recorded<T>(
  history: HistoryRecorder,
  question: Question,
  act: () => Promise<T>,
  placesOf: (answer: T) => readonly WrittenPlace[] | undefined = () => undefined,
): Promise<{ readonly answer: T } | { readonly error: unknown }> {
  const op = history.op()
  history.record({ ...question, op } as Fact)
  try {
    const answer = await act()
    const places = placesOf(answer)
    history.record(places === undefined ? { type: 'done', op } : { type: 'written', op, places })
    return { answer }
  } catch (error) {
    const { code, outcome } = error as { code?: string; outcome?: string }
    if (code === undefined) throw error
    history.record({ type: outcome === 'notWritten' ? 'refused' : 'unknown', op, code })
    return { error }
  }
}

export const placeOf = ({ partition, offset, duplicate }: SendResult): WrittenPlace => ({
  partition,
  offset,
  ...(duplicate && { duplicate }),
})

export const placesOf = ({ writes }: AtomicResult): WrittenPlace[] => writes.map(placeOf)

/** What no client may be told whatever happens to the world. */
const NEVER = new Set(['INTERNAL', 'BAD_FRAME', 'BAD_BATCH', 'BAD_CRC', 'SEQUENCE_GAP'])

/** Throws an error that is a finding by itself. */
export function assertPossible(error: unknown): void {
  const { code } = error as { code?: string }
  if (code === undefined || NEVER.has(code)) throw error
}
