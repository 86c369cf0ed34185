/** Operations of the disks and stores of all test brokers that have begun and not ended: time that is moved by hand waits for them. */
let pending = 0

export const hasPendingWork = (): boolean => pending > 0

/** Counts the operation until it settles. */
export function countWork<T>(operation: Promise<T>): Promise<T> {
  pending++
  const end = (): void => {
    pending--
  }
  operation.then(end, end)
  return operation
}
