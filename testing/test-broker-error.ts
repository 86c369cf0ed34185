/**
 * What a test asked of a broker that is not in the state for it:
 * `CLOSED` after `close()`, `CRASHED` between `crash()` and `restart()`, `RUNNING` when there is nothing to restart.
 */
export type TestBrokerErrorCode = 'CLOSED' | 'CRASHED' | 'RUNNING'

/** A mistake in how a test uses its broker; `code` says which. */
export class TestBrokerError extends Error {
  override readonly name = 'TestBrokerError'
  readonly code: TestBrokerErrorCode

  constructor(code: TestBrokerErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
