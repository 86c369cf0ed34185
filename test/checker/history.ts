/**
 * What happened, as the clients of a broker and those who broke it saw it: plain JSON objects in the order in which they were
 * observed. One recorder gives out the indexes, so that an event with a lower index was over before one with a higher began.
 *
 * A request is three things: it is asked (`write`, `ack`, `settle`, `reset`, `deleteBefore`, each with an `op` of its own), then it is
 * answered (`written` or `done`), refused (nothing of it was or will be done) or `unknown` (it may be done, now or later). A
 * request without an end counts as unknown. Record what is asked before it is sent, and what is answered before anything is done with it.
 *
 * A `value` names one record: whoever writes two records gives them two values; the same value in two requests is the same record sent
 * again. Payloads may be longer than that: record a name that the payload holds, and another one where the payload is damaged.
 */
export type HistoryEvent = { readonly index: number; readonly atMs?: number | undefined } & Fact

/** An event without its place. `atMs` of an event is the clock by which leases and windows are judged: the broker's, or one in step with it. */
export type Fact =
  | TopicFact
  | ProducerFact
  | RequestFact
  | OutcomeFact
  | ReadFact
  | GroupFact
  | QueueFact
  | StreamFact
  | ChunkFact
  | BrokerFact

/** A partition of one incarnation of a topic: a topic that is deleted and created again has another id. */
export interface Partition {
  readonly topicId: string
  readonly partition: number
}

/** Offset and value. */
export type Seen = readonly [offset: number, value: string]

// Topics and producers

export type TopicFact =
  /** Before anything else of it. */
  | {
      readonly type: 'topic'
      readonly topicId: string
      readonly name: string
      readonly partitions: number
      /** How long a dedup id is held; absent: for as long as the history lasts. Judged only by events with `atMs`. */
      readonly dedupWindowMs?: number
      /** The broker itself deletes only what every cursor has passed. */
      readonly untilAcked?: boolean
      /** The broker itself deletes by age or size, whatever the cursors say. */
      readonly expires?: boolean
      /** Records may be missing where a later one has their key. */
      readonly compacted?: boolean
      /** The broker writes it (dead letters, retries, changes): nobody's requests explain its values. */
      readonly writtenByBroker?: boolean
      /** What lies below `offset` is the other one's, and its own begins there. */
      readonly fork?: { readonly topicId: string; readonly offset: number }
    }
  /** Its deletion is about to be asked for: from here on its records may be missing. */
  | { readonly type: 'topicGone'; readonly topicId: string }

/** The broker answered with this epoch: what an older epoch of the id asks for from here on is refused. */
export interface ProducerFact {
  readonly type: 'producer'
  readonly process: string
  readonly producerId: number
  readonly epoch: number
}

// Requests

export type RequestFact = WriteFact | AckFact | SettleFact | ResetFact | DeleteBeforeFact

export interface WrittenRecord {
  readonly topicId: string
  /** Absent: the client chooses, and the answer tells. */
  readonly partition?: number | undefined
  readonly value: string
  readonly dedupId?: string | undefined
  /** It is written at this offset or not at all. */
  readonly expectedOffset?: number | undefined
}

export interface WriteFact {
  readonly type: 'write'
  readonly op: number
  readonly process: string
  readonly records: readonly WrittenRecord[]
  /**
   * Records of one stream are in each partition in the order in which they were asked for, each once: a producer's name, unique
   * in the history. Absent: no order is promised, and a value that is asked for twice may be there twice.
   */
  readonly stream?: string | undefined
  /** Where the batch is known: its first record has this sequence in its partition. All records are then of one partition. */
  readonly producer?: { readonly id: number; readonly epoch: number; readonly sequence: number } | undefined
  /** All of it or nothing, readers see it at once, and `acks` are done with it. Absent: record by record. */
  readonly atomic?: boolean
  /** The stream that is closed with it, or by it alone: nothing comes behind it any more. */
  readonly closes?: string | undefined
  readonly acks?: readonly (CursorAck | JobAck)[] | undefined
}

/** Everything below `offset` is done. */
export interface CursorAck extends Partition {
  readonly kind: 'cursor'
  readonly group: string
  readonly member: string
  /** The epoch at which the member got the partition, where it is known. */
  readonly generation?: number | undefined
  readonly offset: number
}

export interface JobAck extends Partition {
  readonly kind: 'job'
  readonly group: string
  readonly member: string
  readonly leaseId?: number | undefined
  readonly offset: number
}

/** An acknowledgement of a consumer group. */
export interface AckFact extends Omit<CursorAck, 'kind'> {
  readonly type: 'ack'
  readonly op: number
}

/** A worker is done with a job, gives it back, or wants it for longer. */
export interface SettleFact extends Omit<JobAck, 'kind'> {
  readonly type: 'settle'
  readonly op: number
  readonly kind: 'ack' | 'nack' | 'extend' | 'deadLetter'
  /** `extend`, once it is done: the lease holds at least until then. */
  readonly untilMs?: number | undefined
}

/** A cursor or the place of a queue is set by somebody's wish: to `offset`, or to somewhere from there up to `upTo`. */
export interface ResetFact extends Partition {
  readonly type: 'reset'
  readonly op: number
  readonly group: string
  readonly offset: number
  readonly upTo?: number | undefined
}

/** The start of the log moves to `offset`, cursors or not. */
export interface DeleteBeforeFact extends Partition {
  readonly type: 'deleteBefore'
  readonly op: number
  readonly offset: number
}

export type OutcomeFact =
  /** A `write` was answered: a place for each of its records. `duplicate`: it is not there, another with its dedup id is at this place. */
  | { readonly type: 'written'; readonly op: number; readonly places: readonly WrittenPlace[] }
  /** Any other request was answered; or a `write`, and it was not said where its records are. */
  | { readonly type: 'done'; readonly op: number }
  | { readonly type: 'refused'; readonly op: number; readonly code?: string | undefined }
  | { readonly type: 'unknown'; readonly op: number; readonly code?: string | undefined }

export interface WrittenPlace {
  readonly partition: number
  readonly offset: number
  readonly duplicate?: boolean | undefined
}

// Reading

export type ReadFact =
  /**
   * A reader saw the offsets [from, next) of a partition: what is not in `records` is not in the log. A reader that follows records each
   * of its batches, beginning where the one before it ended.
   */
  | ({
      readonly type: 'read'
      readonly reader: string
      /** The newest records from memory, or older ones from chunks. */
      readonly via?: 'tail' | 'history'
      readonly from: number
      readonly next: number
      readonly records: readonly Seen[]
    } & Partition)
  /** The broker was asked where a partition starts and ends. `since`: index of the event before which it was not yet asked; default its own. */
  | ({
      readonly type: 'bounds'
      readonly startOffset: number
      readonly endOffset: number
      readonly since?: number
    } & Partition)
  /** The last word, when everybody is done and the broker has been started for the last time: the partition as it is, in one event or in several that follow on each other. */
  | ({
      readonly type: 'log'
      readonly startOffset: number
      /** Of this piece. */
      readonly endOffset: number
      readonly records: readonly Seen[]
    } & Partition)

// Consumer groups

interface OfGroup extends Partition {
  readonly group: string
  readonly member: string
}

export type GroupFact =
  /**
   * A member got a partition; one that only comes back and goes on where it was gets nothing. `since`: index of an event before
   * which the broker cannot have decided it, for example that of the join; default 0, which excuses everything that happened meanwhile.
   */
  | ({
      readonly type: 'assigned'
      readonly generation?: number | undefined
      /** Where it goes on; absent: where its first `given` begins. */
      readonly cursor?: number | undefined
      readonly since?: number
    } & OfGroup)
  /** It has it no more, and knows it. */
  | ({ readonly type: 'unassigned' } & OfGroup)
  /** It handed these records to its program. `next`: behind the last of them, and behind what is not in the log. */
  | ({
      readonly type: 'given'
      readonly generation?: number | undefined
      readonly from: number
      readonly next: number
      readonly records: readonly Seen[]
    } & OfGroup)
  /** The broker was asked where the group is: of a queue, the first job that is not done. `since` as for `bounds`. */
  | ({
      readonly type: 'cursor'
      readonly group: string
      readonly offset: number
      readonly since?: number
    } & Partition)
  /** The deletion of a group, or of its cursors by their age, is about to be asked for or to happen: from here on it holds nothing, and no other gets its name. */
  | { readonly type: 'groupGone'; readonly group: string }

// Work queues

export type QueueFact =
  /** What is known of a queue. Absent: a job that is handed out again and again never becomes a dead letter by that alone. */
  | {
      readonly type: 'queue'
      readonly group: string
      readonly topicId: string
      readonly maxDeliveries: number
    }
  /** A worker was handed a job, and did not know of an end of its lease. */
  | ({
      readonly type: 'leased'
      readonly offset: number
      readonly value?: string | undefined
      /** Rises with each claim of a partition. Absent: leases are taken to be given in the order of these events. */
      readonly leaseId?: number | undefined
      /** The number of this delivery: 1 for the first. */
      readonly count: number
      /** It was given by then at the latest; absent: by `atMs`. */
      readonly grantedMs?: number | undefined
      /** It is good at least until then, unless it is settled or its worker goes. */
      readonly untilMs?: number | undefined
    } & OfGroup)
  /** The worker lost its connection, or its life; its jobs stay its own until `untilMs`. Absent: they may go to others at once. */
  | {
      readonly type: 'memberAway'
      readonly group: string
      readonly member: string
      readonly untilMs?: number | undefined
    }
  /** It is back, and the broker has said that it keeps what it held. */
  | { readonly type: 'memberBack'; readonly group: string; readonly member: string }

// Streams, and chunks for caches

/** The broker was asked where a stream ends, and whether it is closed there. `since` as for `bounds`. */
export type StreamFact = {
  readonly type: 'streamEnd'
  readonly endOffset: number
  readonly isClosed: boolean
  readonly since?: number
} & Partition

/** What is at a URL that never gives other bytes: the records [from, next) of a partition. */
interface OfChunk extends Partition {
  readonly url: string
  readonly from: number
  readonly next: number
  /** As for `bounds`. */
  readonly since?: number
}

export type ChunkFact =
  /** Somebody got all of it. `digest` stands for the bytes. */
  | ({ readonly type: 'chunk'; readonly digest: string } & OfChunk)
  /** Somebody was told that it is not there any more. */
  | ({ readonly type: 'chunkGone' } & OfChunk)

// The broker

export type BrokerFact =
  /** It is dead or stopped; all that was acknowledged, seen or decided until here is to be there afterwards. `at`: the failpoint that did it. */
  | {
      readonly type: 'brokerDown'
      readonly how: 'kill' | 'powerCut' | 'stop' | 'failed'
      readonly at?: string | undefined
    }
  /** It serves again. */
  | { readonly type: 'brokerUp' }
  /** Nothing was in its way any more, and in minutes it did not come to serve. */
  | { readonly type: 'brokerStuck' }
  /**
   * The broker, or a client, was told that stored data is damaged or missing. `isExplained`: a disk had failed or lied before, or
   * somebody had changed what is on it.
   */
  | {
      readonly type: 'damageFound'
      readonly by: string
      readonly message: string
      readonly isExplained: boolean
    }

/** The events of these types. */
export type EventOf<Type extends Fact['type']> = Extract<HistoryEvent, { readonly type: Type }>

/** A promise that was broken. */
export interface Violation {
  /** The file of the rule in `rules/`. */
  readonly rule: string
  /** In plain English. */
  readonly message: string
  /** What shows it, by index. */
  readonly events: readonly HistoryEvent[]
}
