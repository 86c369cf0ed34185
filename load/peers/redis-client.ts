import { peerPackage } from './packages.js'
import type { PeerClient, PeerStream } from './peer-stream.js'

/** What is used of `@redis/client`; it writes the commands of one tick together. */
interface Redis {
  createClient(options: { url: string; socket: { reconnectStrategy: false } }): RedisClient
}

interface RedisClient {
  on(event: 'error', listener: (error: Error) => void): unknown
  connect(): Promise<unknown>
  xAdd(key: string, id: '*', fields: Record<string, string>): Promise<string>
  multi(): RedisPipeline
  xRead(stream: { key: string; id: string }, options: { COUNT: number }): Promise<StreamReply[] | null>
  xGroupCreate(key: string, group: string, id: '0'): Promise<unknown>
  xReadGroup(
    group: string,
    consumer: string,
    stream: { key: string; id: '>' },
    options: { COUNT: number },
  ): Promise<StreamReply[] | null>
  xAck(key: string, group: string, id: string): Promise<number>
  xPending(key: string, group: string): Promise<{ pending: number }>
  xLen(key: string): Promise<number>
  del(key: string): Promise<number>
  close(): Promise<void>
}

interface RedisPipeline {
  xAdd(key: string, id: '*', fields: Record<string, string>): RedisPipeline
  execAsPipeline(): Promise<unknown>
}

interface StreamReply {
  readonly messages: readonly { readonly id: string; readonly message: { readonly v: string } }[]
}

const READ_RECORDS = 5_000
const CLAIM_JOBS = 1_000
const GROUP = 'workers'

export const redisClient: PeerClient = {
  packages: ['@redis/client'],
  sendsInFlight: 4_000,
  async open(url, name): Promise<PeerStream> {
    // A server that dies is to fail the figure, not to stop the clock.
    const socket = { reconnectStrategy: false } as const
    const client = peerPackage<Redis>('@redis/client').createClient({ url, socket })
    client.on('error', () => {})
    await client.connect()
    return new RedisStream(client, name)
  },
}

class RedisStream implements PeerStream {
  readonly #client: RedisClient
  readonly #key: string
  #claimed = 0

  constructor(client: RedisClient, key: string) {
    this.#client = client
    this.#key = key
  }

  send(value: string): Promise<unknown> {
    return this.#client.xAdd(this.#key, '*', { v: value })
  }

  sendBatch(values: readonly string[]): Promise<unknown> {
    const pipeline = this.#client.multi()
    for (const value of values) pipeline.xAdd(this.#key, '*', { v: value })
    return pipeline.execAsPipeline()
  }

  async read(records: number, onBatch: (values: Iterable<string>, count: number) => void): Promise<void> {
    let id = '0'
    for (let seen = 0; seen < records; ) {
      const reply = await this.#client.xRead({ key: this.#key, id }, { COUNT: READ_RECORDS })
      const messages = reply?.[0]?.messages ?? []
      const last = messages.at(-1)
      if (last === undefined) throw new Error(`the stream ends after ${seen} records`)
      id = last.id
      seen += messages.length
      onBatch(valuesOf(messages), messages.length)
    }
  }

  /** The next jobs are asked for in the same write as the acks of the last ones. */
  async work(jobs: number): Promise<void> {
    await this.#client.xGroupCreate(this.#key, GROUP, '0')
    const acks: Promise<number>[] = []
    while (this.#claimed < jobs) {
      const reply = await this.#client.xReadGroup(
        GROUP,
        'worker',
        { key: this.#key, id: '>' },
        { COUNT: CLAIM_JOBS },
      )
      const messages = reply?.[0]?.messages ?? []
      if (messages.length === 0) throw new Error(`the stream ends after ${this.#claimed} jobs`)
      this.#claimed += messages.length
      for (const { id } of messages) acks.push(this.#client.xAck(this.#key, GROUP, id))
    }
    const acknowledged = (await Promise.all(acks)).reduce((sum, count) => sum + count, 0)
    if (acknowledged !== jobs) throw new Error(`${acknowledged} of ${jobs} jobs were acknowledged`)
  }

  async unacknowledgedJobs(): Promise<number> {
    const { pending } = await this.#client.xPending(this.#key, GROUP)
    return pending + (await this.stored()) - this.#claimed
  }

  stored(): Promise<number> {
    return this.#client.xLen(this.#key)
  }

  async remove(): Promise<void> {
    await this.#client.del(this.#key)
    await this.#client.close()
  }
}

function* valuesOf(messages: StreamReply['messages']): Generator<string> {
  for (const { message } of messages) yield message.v
}
