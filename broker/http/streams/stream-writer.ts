import type { Socket } from 'node:net'
import type { RequestId } from '../../../protocol/ids.js'
import type { AppendBatch, ShardFace, StreamWrite, StreamWritten } from '../../shard/shard-face.js'
import type { AppendSources } from '../append-sources.js'

/** One write of one request. */
export interface WriteToStream {
  readonly shard: ShardFace
  /** The connection that it came on: connections are served in turn. */
  readonly socket: Socket
  readonly requestId: RequestId
  readonly write: StreamWrite
  /** None: the stream is only closed. */
  readonly batch: AppendBatch | undefined
}

/** Writes to streams: records, closed or not, and producer state in one WAL record. */
export class StreamWriter {
  readonly #sources: AppendSources

  constructor(sources: AppendSources) {
    this.#sources = sources
  }

  /** Resolves when it is durable. Rejects with what the shard refuses. */
  write({ shard, socket, requestId, write, batch }: WriteToStream): Promise<StreamWritten> {
    const writes = batch === undefined ? [] : [batch]
    return new Promise((resolve, reject) => {
      this.#sources
        .of(socket, shard)
        .appendUnit({ requestId, writes, acks: [], stream: write }, (error, result) => {
          if (result?.stream === undefined) reject(error)
          else resolve(result.stream)
        })
    })
  }
}
