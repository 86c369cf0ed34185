import { refuseTooLarge } from '../../client/record-encoder.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { LineFault, type LineRecord, type LineRecords } from './line-records.js'

export interface NumberedRecords extends LineRecords {
  /** Number of the line that the first record stood in. */
  readonly firstLine: number
}

/** What the pump needs of a producer: resolves when all of the records are durable. */
export interface RecordSender {
  sendBatch(records: readonly LineRecord[]): Promise<unknown>
}

/** Value bytes under way at a time: enough for the network and the disk to be busy, little enough to hold. */
const inFlightBytesMax = 8 * 1024 * 1024

/** Sends blocks of records in their order, a bounded number of bytes ahead of their acknowledgements. */
export class ProducePump {
  /** Acknowledged so far. */
  records = 0
  /** Bytes of the values acknowledged so far. */
  valueBytes = 0
  readonly #sender: RecordSender
  readonly #onFailure: (error: unknown) => void
  readonly #inFlight = new Set<Promise<void>>()
  #inFlightBytes = 0
  #failure: { readonly error: unknown } | undefined

  /** `onFailure` is called once, at the first block that cannot be written. */
  constructor(sender: RecordSender, onFailure: (error: unknown) => void) {
    this.#sender = sender
    this.#onFailure = onFailure
  }

  /** Resolves when there is room for the next block. Throws the first failure, also that of an earlier block. */
  async send(block: NumberedRecords): Promise<void> {
    this.#throwFailure()
    const { records, valueBytes } = block
    // Empty lines have no bytes, but each costs as much as a short one.
    const bytes = valueBytes + 32 * records.length
    this.#inFlightBytes += bytes
    const sending = this.#sender
      .sendBatch(records)
      .then(
        () => {
          this.records += records.length
          this.valueBytes += valueBytes
        },
        (error) => this.#fail(located(error, block)),
      )
      .then(() => {
        this.#inFlightBytes -= bytes
        this.#inFlight.delete(sending)
      })
    this.#inFlight.add(sending)
    while (this.#inFlightBytes > inFlightBytesMax) await Promise.race(this.#inFlight)
    this.#throwFailure()
  }

  /** Resolves when everything sent is acknowledged. Throws the first failure, once nothing is under way any more. */
  async drain(): Promise<void> {
    await Promise.all(this.#inFlight)
    this.#throwFailure()
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = { error }
    this.#onFailure(error)
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}

/** The same error; one about a record's size names its line. */
function located(error: unknown, { records, firstLine }: NumberedRecords): unknown {
  if (!(error instanceof MillraceError) || error.code !== 'RECORD_TOO_LARGE') return error
  const recordBytesMax = Number(error.details?.recordBytesMax)
  const index = records.findIndex((record) => isTooLarge(record, recordBytesMax))
  return index === -1 ? error : new LineFault(firstLine + index, `is too long: ${error.message}`)
}

function isTooLarge(record: LineRecord, recordBytesMax: number): boolean {
  const outgoing = { ...record, headers: null, timestamp: 0, dedupId: null, expectedOffset: null }
  try {
    refuseTooLarge(outgoing, recordBytesMax)
    return false
  } catch {
    return true
  }
}
