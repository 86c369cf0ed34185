import { MillraceError } from '../../protocol/error-codes.js'

/** Where a chunk file is not what was sealed. */
export interface ChunkFault {
  readonly file: string
  /** Byte position of the header, entry, index or table that does not verify. */
  readonly byteOffset: number
  readonly reason: string
}

/** Sealed bytes never change: whatever does not verify is damage. */
export class ChunkCorruption extends MillraceError {
  readonly fault: ChunkFault

  constructor(fault: ChunkFault) {
    super('CORRUPT_DATA', {
      message: `a chunk is damaged: ${fault.file} at byte ${fault.byteOffset}: ${fault.reason}`,
      details: { file: fault.file, byteOffset: fault.byteOffset, reason: fault.reason },
    })
    this.fault = fault
  }
}
