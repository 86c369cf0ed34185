import { MillraceError } from '../../protocol/error-codes.js'

/** Damage that no crash explains: the broker refuses to start over it, `millrace repair` may cut it. */
export class WalCorruption extends MillraceError {
  readonly file: string
  readonly byteOffset: number
  readonly reason: string

  constructor(at: { file: string; byteOffset: number; reason: string }) {
    super('CORRUPT_DATA', {
      message: `the WAL is damaged: ${at.file} at byte ${at.byteOffset}: ${at.reason}`,
      details: { file: at.file, byteOffset: at.byteOffset, reason: at.reason },
    })
    this.file = at.file
    this.byteOffset = at.byteOffset
    this.reason = at.reason
  }
}
