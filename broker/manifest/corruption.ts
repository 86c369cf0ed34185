import { MillraceError } from '../../protocol/error-codes.js'

/** A manifest that does not hold what was flushed: the broker refuses to start over it. */
export class ManifestCorruption extends MillraceError {
  readonly keyspace: string
  /** The row's key, printable; empty when the fault is not one row's. */
  readonly key: string
  readonly reason: string

  constructor(at: { keyspace: string; key?: string; reason: string; cause?: unknown }) {
    const key = at.key ?? ''
    const row = key === '' ? at.keyspace : `${at.keyspace} ${key}`
    super('CORRUPT_DATA', {
      message: `the manifest is damaged: ${row}: ${at.reason}`,
      details: { keyspace: at.keyspace, key, reason: at.reason },
      cause: at.cause,
    })
    this.keyspace = at.keyspace
    this.key = key
    this.reason = at.reason
  }
}

export function fail(keyspace: string, key: string, reason: string): never {
  throw new ManifestCorruption({ keyspace, key, reason })
}
