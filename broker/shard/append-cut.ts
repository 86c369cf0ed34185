import type { MillraceError } from '../../protocol/error-codes.js'
import type { Metrics } from '../platform/metrics.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import type { WalCommand } from '../wal/command.js'
import { DIRECTORY_ROW_BYTES } from '../wal/group.js'
import type { AppendCommand } from './append-command.js'
import type { AppendQueue, QueuedAppend, QueuedBatch, QueuedUnit } from './append-queue.js'
import type { AppendBatch } from './batch-check.js'
import { type Command, encodeCommand } from './commands.js'
import { type AppendAck, type CutPlace, Sequencer } from './sequencer.js'
import type { ShardState } from './state.js'
import { type SequencedUnit, UnitSequencer } from './unit-sequencer.js'
import { jobsIn, type UnitResult, type WriteUnit } from './write-unit.js'

/** A group that is being cut, as far as it takes from the queue. */
export interface OpenGroup {
  readonly time: number
  readonly walCommands: WalCommand[]
  /** Besides the appends, in the order of `walCommands`. */
  readonly commands: Map<WalCommand, Command>
  readonly answers: { readonly item: QueuedBatch; readonly ack: AppendAck }[]
  readonly unitAnswers: { readonly item: QueuedUnit; readonly result: UnitResult }[]
}

export interface AppendCutOptions {
  readonly state: ShardState
  readonly queue: AppendQueue
  readonly metrics: Metrics
  /** Memory for dedup ids. */
  readonly dedupBytesMax: number
  /** Producers that all streams together remember. */
  readonly producersMax: number
  readonly planted?: PlantedFault | undefined
  /** The refusal that stands for anything thrown; reports what nobody expected. */
  readonly refusalOf: (error: unknown) => MillraceError
}

/** Takes what waits in the queue into the group that is being cut, and answers it once the group is on disk. */
export class AppendCut {
  readonly #options: AppendCutOptions
  readonly #sequencer: Sequencer
  readonly #units: UnitSequencer

  constructor(options: AppendCutOptions) {
    this.#options = options
    this.#sequencer = new Sequencer(options)
    this.#units = new UnitSequencer({ ...options, sequencer: this.#sequencer })
  }

  /** Before each cut: what the last one took is applied now. */
  reset(): void {
    this.#sequencer.reset()
    this.#units.reset()
  }

  assignInternal(batch: AppendBatch, at: CutPlace): AppendCommand {
    return this.#sequencer.assignInternal(batch, at)
  }

  /**
   * Takes a batch or a unit; returns the bytes that it adds to the group. A refusal is answered here. What is thrown is
   * no refusal: nothing may be written any more.
   */
  take(item: QueuedAppend, group: OpenGroup): number {
    if (item.unit !== null) return this.#takeUnit(item, group)
    try {
      return this.#takeBatch(item, group)
    } catch (error) {
      this.#refuse(item, error)
      return 0
    }
  }

  #refuse(item: QueuedAppend, error: unknown): void {
    const { queue, metrics, refusalOf } = this.#options
    const refusal = refusalOf(error)
    metrics.count('produceRefusals')
    if (refusal.code === 'EXPECTED_OFFSET_CONFLICT') metrics.count('expectedOffsetConflicts')
    if (refusal.code === 'DEDUP_FULL') metrics.count('dedupRefusals')
    queue.settle(item, refusal)
  }

  #takeBatch(item: QueuedBatch, group: OpenGroup): number {
    const at = { record: group.walCommands.length, time: group.time }
    const sequenced = this.#sequencer.sequence(item.batch, at)
    const { kind, ack } = sequenced
    if (kind === 'append') {
      group.walCommands.push(sequenced.command)
      group.answers.push({ item, ack })
      return sequenced.command.byteLength + DIRECTORY_ROW_BYTES
    }
    if (ack.duplicate) this.#options.metrics.count('produceDuplicates')
    if (kind === 'duplicate') {
      this.#countDuplicates(ack)
      this.#options.queue.settle(item, null, ack)
      return 0
    }
    group.answers.push({ item, ack })
    return kind === 'advance' ? push(group, sequenced.command, at.record) : 0
  }

  #takeUnit(item: QueuedUnit, group: OpenGroup): number {
    const record = group.walCommands.length
    let sequenced: SequencedUnit
    try {
      sequenced = this.#units.sequence(item.unit, { record, time: group.time })
    } catch (error) {
      this.#refuse(item, error)
      return 0
    }
    const { kind, result } = sequenced
    if (result.retried) this.#options.metrics.count('atomicRetries')
    if (kind === 'answered') {
      this.#options.queue.settle(item, null, result)
      return 0
    }
    group.unitAnswers.push({ item, result })
    if (kind === 'answeredInGroup') return 0
    // What can go wrong goes wrong before anything of it is in the group: no half of it is ever written.
    const encoded = sequenced.commands.map((command) => encodeCommand(command, record))
    let bytes = 0
    for (const command of sequenced.appends) {
      group.walCommands.push(command)
      bytes += command.byteLength + DIRECTORY_ROW_BYTES
    }
    for (const [i, command] of encoded.entries()) {
      bytes += put(group, command, sequenced.commands[i] as Command)
    }
    return bytes
  }

  /** A unit without writes, decided as a change: it needs no room and goes on while the disk is full. */
  decideAcks(
    unit: WriteUnit,
    time: number,
  ): { commands: readonly Command[]; result: UnitResult } | undefined {
    const sequenced = this.#units.sequence(unit, { record: 0, time })
    const { kind, result } = sequenced
    // Answered from the state once the group is applied.
    if (kind === 'answeredInGroup') return undefined
    if (kind === 'answered') return { commands: [], result }
    return { commands: sequenced.commands, result }
  }

  /** Answers all that a group took; it is on disk and applied. */
  acknowledge({ answers, unitAnswers }: Pick<OpenGroup, 'answers' | 'unitAnswers'>): void {
    const { queue, metrics } = this.#options
    for (const { item, ack } of answers) {
      if (!ack.duplicate) {
        metrics.count('produceBatches')
        metrics.count('produceRecords', item.batch.recordCount)
        metrics.count('produceBytes', item.batch.payload.length)
        this.#countDuplicates(ack)
      }
      queue.settle(item, null, ack)
    }
    for (const { item, result } of unitAnswers) {
      if (!result.retried) this.#countUnit(item.unit, result)
      queue.settle(item, null, result)
    }
  }

  /** Answers all that a group took with its failure. */
  fail({ answers, unitAnswers }: Pick<OpenGroup, 'answers' | 'unitAnswers'>, failure: MillraceError): void {
    for (const { item } of answers) this.#options.queue.settle(item, failure)
    for (const { item } of unitAnswers) this.#options.queue.settle(item, failure)
  }

  #countUnit(unit: WriteUnit, result: UnitResult): void {
    const { metrics } = this.#options
    metrics.count('atomicWrites')
    metrics.count('jobsAcked', jobsIn(unit))
    for (const [i, { recordCount, payload }] of unit.writes.entries()) {
      metrics.count('produceBatches')
      metrics.count('produceRecords', recordCount)
      metrics.count('produceBytes', payload.length)
      this.#countDuplicates(result.writes[i])
    }
  }

  #countDuplicates(written: Pick<AppendAck, 'duplicates'> | undefined): void {
    const duplicates = written?.duplicates?.length ?? 0
    if (duplicates > 0) this.#options.metrics.count('dedupDuplicates', duplicates)
  }
}

const push = (group: OpenGroup, command: Command, record: number): number =>
  put(group, encodeCommand(command, record), command)

function put(group: OpenGroup, encoded: WalCommand, command: Command): number {
  group.walCommands.push(encoded)
  group.commands.set(encoded, command)
  return encoded.byteLength + DIRECTORY_ROW_BYTES
}
