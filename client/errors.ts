import { MillraceError } from '../protocol/error-codes.js'

export const illegalArgument = (message: string): MillraceError =>
  new MillraceError('ILLEGAL_ARGUMENT', { message })

/** For what should be a MillraceError and might, by a fault of this library, be something else. */
export function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return new MillraceError('INTERNAL', {
    message: error instanceof Error ? error.message : String(error),
    cause: error,
  })
}

/** The same promise; whoever does not look at it is told otherwise: an unheard rejection would end the process. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/**
 * The end of the partition is past the offset that was expected. Where an earlier attempt would have been recognised, the record is
 * not there, then, and cannot get there any more.
 */
export function isOffsetPassed({ code, details }: MillraceError): boolean {
  return (
    code === 'EXPECTED_OFFSET_CONFLICT' && Number(details?.actualOffset) > Number(details?.expectedOffset)
  )
}
