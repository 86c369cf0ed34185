import { MillraceError } from '../../protocol/error-codes.js'
import type { Clock } from '../platform/clock.js'
import { DIRECTORY_ROW_BYTES } from '../wal/group.js'
import type { CommittedGroup, Wal } from '../wal/wal.js'
import { AppendCommand } from './append-command.js'
import { AppendCut, type AppendCutOptions, type OpenGroup } from './append-cut.js'
import type { AppendBatch } from './batch-check.js'
import { BrokerTime } from './broker-time.js'
import type { Change, Decision } from './change.js'
import type { ChangeLog } from './change-log.js'
import { ackClaims, claim } from './claims.js'
import { type Command, encodeCommand } from './commands.js'
import { ProofTimer } from './proof-timer.js'
import { type AppendAck, ackOf } from './sequencer.js'
import type { UnitResult, WriteUnit } from './write-unit.js'

export type { Change, Decision } from './change.js'

interface QueuedChange {
  readonly change: Change<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: MillraceError) => void
}

/** A group between its cut and its acknowledgements. */
interface Group extends OpenGroup {
  readonly changes: { queued: QueuedChange; result: unknown }[]
}

export interface GroupCommitOptions extends AppendCutOptions {
  readonly wal: Wal
  readonly clock: Clock
  readonly groupBytesMax: number
  readonly proofIdleMs: number
  readonly changeLog: ChangeLog
  /** Applies a durable group to the state and indexes it; synchronous. */
  readonly apply: (group: AppliedGroup) => void
  /** The group is applied and the next one is on its way to the disk: tell the followers. */
  readonly applied: (group: AppliedGroup) => void
  /** The refusal that stands for anything thrown; reports what nobody expected. */
  readonly refusalOf: (error: unknown) => MillraceError
  /** Called once, when a write failed: the broker must stop. */
  readonly failed: (error: unknown) => void
}

export interface AppliedGroup {
  readonly committed: CommittedGroup
  readonly commands: readonly (AppendCommand | Command)[]
}

/** What a write may take; less where small requests come, and wait for it, beside large ones. */
const GROUP_MS_MAX = 2
const GROUP_MS_BESIDE_SMALL = 1
/** A small batch is remembered for so many groups. */
const SMALL_GROUPS = 32
const GROUP_BYTES_FLOOR = 256 * 1024
/** Batches up to this size do not wait until larger ones beside them are written. */
const SMALL_BATCH_BYTES = 16 * 1024

/**
 * The write loop of a shard. It clocks itself: while a group is being written requests gather, and the next group is cut
 * out of them when the write returns. The order is always: on disk, applied, next write begun, acknowledged.
 * Not re-entrant.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions
  readonly #appends: AppendCut
  readonly #time: BrokerTime
  #changes: QueuedChange[] = []
  #running = false
  #scheduled = false
  #failed: MillraceError | undefined
  #stopping = false
  /** The last group is written: nothing comes behind it, whoever still has something to tell. */
  #isOver = false
  readonly #holds = new Set<string>()
  /** After a short quiet time an empty group proves the last one, so that damage to it is told from a torn write. */
  readonly #proofTimer: ProofTimer
  #proofDue = false
  #lastWasProof = false
  #bytesPerMs = 512 * 1024
  #wasExpress = false
  #groupsSinceSmall = SMALL_GROUPS
  #whenIdle: (() => void)[] = []

  constructor(options: GroupCommitOptions) {
    this.#options = options
    this.#appends = new AppendCut(options)
    this.#time = new BrokerTime(options.clock, options.state.time)
    this.#proofTimer = new ProofTimer({
      clock: options.clock,
      idleMs: options.proofIdleMs,
      onDue: () => {
        this.#proofDue = true
        this.kick()
      },
    })
  }

  /** Broker time, milliseconds. */
  time(): number {
    return this.#time.now()
  }

  /** Queues a change; resolves with its result once it is on disk and applied. Rejects with SHUTTING_DOWN after `stop`. */
  submit<T>(change: Change<T>): Promise<T> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed)
    // A group behind the last proof would not be the one that a clean stop names.
    if (this.#stopping) return Promise.reject(new MillraceError('SHUTTING_DOWN'))
    return new Promise<T>((resolve, reject) => {
      this.#changes.push({ change, resolve: resolve as (result: unknown) => void, reject })
      this.kick()
    })
  }

  /** Gives the acks of a unit that writes nothing; for the rest as an atomic write. */
  submitAcks(unit: WriteUnit): Promise<UnitResult> {
    return this.submit({
      decide: ({ time, claimed }) =>
        claim(claimed, ...ackClaims(unit.acks)) ? this.#appends.decideAcks(unit, time) : undefined,
    })
  }

  /** While any hold stands no append is taken; changes, which may free space, go on. */
  hold(reason: string): void {
    this.#holds.add(reason)
  }

  unhold(reason: string): void {
    if (this.#holds.delete(reason)) this.kick()
  }

  /** Cuts a group at the end of this turn of the event loop, so that all that came in it goes together. */
  kick(): void {
    if (this.#running || this.#scheduled || this.#isOver) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    if (this.#running || this.#failed !== undefined) return
    this.#running = true
    let group: Group | undefined
    let before: { group: Group; applied: AppliedGroup } | undefined
    try {
      for (group = this.#cut(); group !== undefined; group = this.#cutMore()) {
        const startedMs = performance.now()
        const cut = group
        let applied: AppliedGroup | undefined
        const begun = (committed: CommittedGroup): void => {
          applied = this.#apply(cut, committed)
          this.#options.applied(applied)
        }
        const writing = this.#options.wal.commit({ commands: group.walCommands, time: group.time, begun })
        // It is awaited below, unless what comes first throws.
        writing.catch(() => {})
        if (before !== undefined) this.#acknowledge(before.group, before.applied)
        before = undefined
        const committed = await writing
        this.#learnBandwidth(committed.bytes, performance.now() - startedMs)
        before = { group, applied: applied ?? this.#apply(group, committed) }
      }
      if (before !== undefined) this.#acknowledge(before.group, before.applied)
    } catch (error) {
      // Whatever it was, nobody is left waiting. A group that was applied is on disk, but its answers are lost with it.
      if (before !== undefined) this.#failGroup(before.group, error)
      if (group !== undefined) this.#failGroup(group, error)
      this.#fail(error)
    } finally {
      this.#running = false
    }
    this.#armProof()
    if (this.#failed === undefined && this.#hasWork()) this.kick()
    else for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  #hasWork(): boolean {
    return (
      this.#changes.length > 0 ||
      this.#options.changeLog.isWaiting ||
      this.#proofDue ||
      (this.#holds.size === 0 && !this.#options.queue.isEmpty)
    )
  }

  /** A lone group has its answer at once: nothing is made ready for a next one that does not come. */
  #cutMore(): Group | undefined {
    return this.#hasWork() ? this.#cut() : undefined
  }

  #cut(): Group | undefined {
    if (this.#failed !== undefined || this.#isOver) return undefined
    const group: Group = {
      time: this.time(),
      walCommands: [],
      commands: new Map(),
      answers: [],
      unitAnswers: [],
      changes: [],
    }
    this.#appends.reset()
    try {
      this.#takeChanges(group)
      this.#tellChanges(group)
      if (this.#holds.size === 0) this.#takeAppends(group)
    } catch (error) {
      this.#failGroup(group, error)
      throw error
    }
    const isProof = group.walCommands.length === 0
    if (isProof && !this.#proofDue) return undefined
    this.#proofDue = false
    this.#lastWasProof = isProof
    this.#proofTimer.disarm()
    return group
  }

  #takeChanges(group: Group): void {
    const queued = this.#changes
    this.#changes = []
    const claimed = new Set<string>()
    const bytesMax = Math.min(this.#options.groupBytesMax, this.#options.wal.groupBytesMax)
    let bytes = 0
    for (const item of queued) {
      // The first always fits.
      if (bytes > 0 && bytes + (item.change.appendBytes ?? 0) > bytesMax) {
        this.#changes.push(item)
        continue
      }
      try {
        const decided = item.change.decide({ time: group.time, claimed })
        if (decided === undefined) this.#changes.push(item)
        else bytes += this.#take(group, item, decided)
      } catch (error) {
        item.reject(this.#options.refusalOf(error))
      }
    }
  }

  /** What is told of the changes stands in the group that makes them true. */
  #tellChanges(group: Group): void {
    const batch = this.#options.changeLog.take(group.commands.values(), group.time)
    if (batch === undefined) return
    const at = { record: group.walCommands.length, time: group.time }
    group.walCommands.push(this.#appends.assignInternal(batch, at))
  }

  /** Puts what a change decided into the group as one record; returns the bytes that it adds. */
  #take(group: Group, item: QueuedChange, decided: Decision<unknown>): number {
    const { commands, appends, result } = decided
    if (commands.length === 0 && appends === undefined) {
      item.resolve(resultOf(result, []))
      return 0
    }
    const record = group.walCommands.length
    // Whatever can go wrong goes wrong before anything of it is in the group.
    const encoded = commands.map((command) => encodeCommand(command, record))
    for (const batch of appends ?? []) this.#checkPartition(batch)
    let bytes = 0
    for (const [index, command] of encoded.entries()) {
      group.walCommands.push(command)
      group.commands.set(command, commands[index] as Command)
      bytes += command.byteLength + DIRECTORY_ROW_BYTES
    }
    const acks: AppendAck[] = []
    for (const batch of appends ?? []) {
      const command = this.#appends.assignInternal(batch, { record, time: group.time })
      group.walCommands.push(command)
      acks.push(ackOf(command))
      bytes += command.byteLength + DIRECTORY_ROW_BYTES
    }
    group.changes.push({ queued: item, result: resultOf(result, acks) })
    const isHasty = this.#options.planted === 'cursorBeforeDurable' && commands[0]?.type === 'cursorsMoved'
    if (isHasty) item.resolve(result)
    return bytes
  }

  #checkPartition({ topicId, partition }: AppendBatch): void {
    if (this.#options.state.partition(topicId, partition) === undefined)
      throw new Error('a change appends to a partition that is not there')
  }

  #takeAppends(group: Group): void {
    const { queue, groupBytesMax, wal } = this.#options
    const msMax = this.#groupsSinceSmall++ < SMALL_GROUPS ? GROUP_MS_BESIDE_SMALL : GROUP_MS_MAX
    const wanted = Math.max(GROUP_BYTES_FLOOR, this.#bytesPerMs * msMax)
    const bytesMax = Math.min(groupBytesMax, wanted, wal.groupBytesMax)
    let bytes = 0
    for (const command of group.walCommands) bytes += command.byteLength + DIRECTORY_ROW_BYTES
    let isFirst = true
    let isSmall = true
    const wasExpress = this.#wasExpress
    this.#wasExpress = false
    queue.fill((item) => {
      // Small ones go ahead in a group of their own, but not twice in a row: each write has its price.
      if (item.bytes <= SMALL_BATCH_BYTES) this.#groupsSinceSmall = 0
      else {
        if (isSmall && !isFirst && !wasExpress) {
          this.#wasExpress = true
          return undefined
        }
        isSmall = false
      }
      // The first always fits, even a batch larger than a group: commands in every group must not keep it out for ever.
      if (!isFirst && bytes + item.bytes > bytesMax) return undefined
      const added = this.#appends.take(item, group)
      bytes += added
      if (added > 0) isFirst = false
      return added
    })
  }

  #apply(group: Group, committed: CommittedGroup): AppliedGroup {
    const commands = group.walCommands.map((command) =>
      command instanceof AppendCommand ? command : (group.commands.get(command) as Command),
    )
    const applied = { committed, commands }
    this.#options.apply(applied)
    return applied
  }

  #acknowledge(group: Group, applied: AppliedGroup): void {
    this.#appends.acknowledge(group)
    for (const { queued, result } of group.changes) queued.resolve(result)
    this.#options.applied(applied)
  }

  /** What the disk takes, from groups that are large enough to tell. */
  #learnBandwidth(bytes: number, ms: number): void {
    if (bytes < GROUP_BYTES_FLOOR / 2 || ms <= 0) return
    this.#bytesPerMs += (bytes / ms - this.#bytesPerMs) / 16
  }

  #armProof(): void {
    if (this.#lastWasProof || this.#failed !== undefined || this.#options.state.applied.sequence === 0) return
    this.#proofTimer.arm()
  }

  /** For whoever of the group has no answer yet: what was written of it only the next start finds out. */
  #failGroup(group: Group, error: unknown): void {
    const failure = storageFailed(error)
    this.#appends.fail(group, failure)
    for (const { queued } of group.changes) queued.reject(failure)
  }

  /** From here on nothing is written and nothing is acknowledged. */
  #fail(error: unknown): void {
    if (this.#failed !== undefined) return
    this.#failed = new MillraceError('STORAGE_FAILED', { outcome: 'notWritten', cause: error })
    this.#proofTimer.stop()
    for (const { reject } of this.#changes.splice(0)) reject(this.#failed)
    this.#options.queue.stop(this.#failed)
    if (!this.#running) for (const resolve of this.#whenIdle.splice(0)) resolve()
    this.#options.failed(error)
  }

  /** Another part of the storage failed: stop writing. */
  abort(error: unknown): void {
    this.#fail(error)
  }

  /** Refuses new batches, writes what waits, proves the last group. */
  async stop(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true
      this.#options.queue.refuseNew(new MillraceError('SHUTTING_DOWN'))
      await this.#idle()
      // What a hold kept back.
      this.#options.queue.stop(new MillraceError('SHUTTING_DOWN'))
      if (this.#failed === undefined && !this.#lastWasProof) {
        this.#proofDue = true
        await this.#idle()
      }
      this.#isOver = true
      this.#proofTimer.stop()
    }
  }

  /** Waits until nothing is being written and nothing is left that could be. */
  async #idle(): Promise<void> {
    if (!this.#running && (this.#failed !== undefined || !this.#hasWork())) return
    await new Promise<void>((resolve) => {
      this.#whenIdle.push(resolve)
      this.kick()
    })
  }
}

const resultOf = (result: unknown, acks: readonly AppendAck[]): unknown =>
  typeof result === 'function' ? result(acks) : result

const storageFailed = (cause: unknown): MillraceError => new MillraceError('STORAGE_FAILED', { cause })
