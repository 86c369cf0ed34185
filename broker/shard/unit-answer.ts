/** The answer of an atomic write as the WAL and the manifest keep it, so that a retry gets it again: small lists. */
import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import { list, tuple, uint, uint32 } from '../../protocol/shape.js'
import type { Answers } from './answers.js'
import type { UnitResult, WriteUnit } from './write-unit.js'

/** On disk: fields are never reordered; a new one goes last. */
const answer = tuple({
  appendTime: uint(),
  writes: list(
    tuple({
      partition: uint32(),
      baseOffset: uint(),
      duplicates: list(
        tuple({ index: uint32(), partition: uint32(), offset: uint() }),
        HARD_LIMITS.recordsPerBatchMax,
      ),
    }),
    HARD_LIMITS.atomicWritesMax,
  ),
})

export const unitAnswer = ({ appendTime, writes }: UnitResult): unknown =>
  answer.write({
    appendTime,
    writes: writes.map(({ partition, baseOffset, duplicates }) => {
      return { partition, baseOffset, duplicates: [...(duplicates ?? [])] }
    }),
  })

/** What a unit was answered that was written before. Throws ILLEGAL_ARGUMENT when it was a request of another kind. */
export function keptAnswer(answers: Answers, { requestId }: WriteUnit): UnitResult | undefined {
  const kept = answers.get(requestId)?.result
  if (kept === undefined) return undefined
  if (!Array.isArray(kept))
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'the request id was used for another request' })
  const { appendTime, writes } = answer.read(kept, 'answer')
  return {
    appendTime,
    writes: writes.map(({ partition, baseOffset, duplicates }) => {
      return { partition, baseOffset, duplicates: duplicates.length === 0 ? null : duplicates }
    }),
    retried: true,
  }
}
