/**
 * The checks of a produced batch that need no state: sizes, CRC, compression, records. They run when the batch
 * arrives, so that nothing but state is left to look at when its group is cut.
 */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { crc32 } from '#crc32'
import type { Encoding } from '../../protocol/encodings.js'
import { isTextual } from '../../protocol/encodings.js'
import { COMPRESSION, COMPRESSION_MASK } from '../../protocol/entry.js'
import { dedupIdsFault } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { recordsFault } from '../../protocol/records.js'
import type { AppendBatch } from './append-batch.js'

export type { AppendBatch }

export interface BatchLimits {
  readonly recordBytesMax: number
  readonly batchBytesMax: number
}

export interface BatchEncodings {
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
}

/** Checks what can be checked at once; throws the reason for a refusal. True when only inflating it will tell the rest. */
export function checkBatch(batch: AppendBatch, encodings: BatchEncodings, limits: BatchLimits): boolean {
  const { payload, attributes, inflatedBytes, dedupIds } = batch
  const compression = attributes & COMPRESSION_MASK
  const idsBytes = dedupIds === null ? 0 : dedupIds.bitmap.length + dedupIds.hashes.length
  const larger = Math.max(payload.length + idsBytes, inflatedBytes)
  if (larger > limits.batchBytesMax) {
    throw new MillraceError('BATCH_TOO_LARGE', {
      message: `the batch has ${larger} bytes, at most ${limits.batchBytesMax} are allowed`,
    })
  }
  if (
    (attributes & ~COMPRESSION_MASK) !== 0 ||
    (compression !== COMPRESSION.none && compression !== COMPRESSION.gzip)
  ) {
    throw new MillraceError('BAD_BATCH', {
      message: `attributes ${attributes} have bits that this broker does not know`,
    })
  }
  if (batch.recordCount === 0)
    throw new MillraceError('BAD_BATCH', { message: 'a batch needs at least one record' })
  if (dedupIds !== null) {
    const fault = dedupIdsFault(dedupIds, batch.recordCount)
    if (fault !== undefined) throw new MillraceError('BAD_BATCH', { message: fault })
  }
  if (batch.baseSequence + batch.recordCount > Number.MAX_SAFE_INTEGER) {
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'the sequence runs over 2^53' })
  }
  if (crc32(payload) !== batch.payloadCrc) throw new MillraceError('BAD_CRC')
  if (compression === COMPRESSION.gzip) return true
  if (inflatedBytes !== payload.length) {
    throw new MillraceError('BAD_BATCH', {
      message: `the batch says ${inflatedBytes} bytes before compression, is not compressed and has ${payload.length}`,
    })
  }
  checkRecords(payload, batch, encodings, limits)
  return false
}

const inflate = promisify(gunzip)

/** Inflates a gzip batch in the thread pool, never beyond what it says, and checks its records. */
export async function checkCompressed(
  batch: AppendBatch,
  encodings: BatchEncodings,
  limits: BatchLimits,
): Promise<void> {
  let records: Uint8Array
  try {
    records = await inflate(batch.payload, { maxOutputLength: Math.max(1, batch.inflatedBytes) })
  } catch (cause) {
    const tooLarge = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    throw tooLarge
      ? new MillraceError('BAD_COMPRESSION', {
          message: `the batch inflates to more than the ${batch.inflatedBytes} bytes it says`,
        })
      : new MillraceError('BAD_COMPRESSION', { cause })
  }
  if (records.length !== batch.inflatedBytes) {
    throw new MillraceError('BAD_COMPRESSION', {
      message: `the batch inflates to ${records.length} bytes and says ${batch.inflatedBytes}`,
    })
  }
  checkTrailer(batch.payload, records)
  checkRecords(records, batch, encodings, limits)
}

/** One gzip member and nothing behind it: zlib takes more, browsers do not, and all must be able to read it. */
function checkTrailer(payload: Uint8Array, records: Uint8Array): void {
  const trailer = new DataView(payload.buffer, payload.byteOffset + payload.length - 8, 8)
  if (trailer.getUint32(0, true) === crc32(records) && trailer.getUint32(4, true) === records.length) return
  throw new MillraceError('BAD_COMPRESSION', { message: 'the batch is more than one gzip member' })
}

function checkRecords(
  records: Uint8Array,
  batch: AppendBatch,
  encodings: BatchEncodings,
  limits: BatchLimits,
): void {
  const fault = recordsFault(records, {
    recordCount: batch.recordCount,
    keyTextual: isTextual(encodings.keyEncoding),
    valueTextual: isTextual(encodings.valueEncoding),
    recordBytesMax: limits.recordBytesMax,
  })
  if (fault !== undefined) throw new MillraceError(fault.code, { message: fault.message })
}
