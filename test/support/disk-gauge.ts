import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { chunkIdOf } from '../../broker/chunks/format.js'
import type { ChangeEvent } from '../../broker/shard/change-events.js'
import { type Client, defineTopic, json, text } from '../../client/index.js'

const Changes = defineTopic({ name: '_millrace.changes', key: text(), value: json<ChangeEvent>() })

interface Section {
  readonly topic: string
  readonly partition: number
  readonly endOffset: number
  readonly bytes: number
}

/**
 * What a broker's data directory takes, seen from outside: the files are listed, and what is in the chunks is what
 * `_millrace.changes` told of them.
 */
export class DiskGauge {
  readonly events: ChangeEvent[] = []
  /** The most that the files of the WAL ever took together, spare ones too. */
  walBytesMax = 0
  readonly #dataDir: string
  readonly #sections = new Map<number, Section[]>()
  readonly #timer: NodeJS.Timeout
  readonly #stop = new AbortController()
  #followed: Promise<void> = Promise.resolve()

  constructor(dataDir: string) {
    this.#dataDir = dataDir
    this.#timer = setInterval(() => this.#look(), 15)
  }

  follow(client: Client): void {
    const { signal } = this.#stop
    const follow = async (): Promise<void> => {
      for await (const { value } of client.read(Changes, { from: 'earliest', signal })) {
        this.events.push(value)
        if (value.type !== 'chunkSealed') continue
        const sections = this.#sections.get(value.chunkId) ?? []
        sections.push(value)
        this.#sections.set(value.chunkId, sections)
      }
    }
    this.#followed = follow().catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
    this.#followed.catch(() => {})
  }

  #look(): void {
    const bytes = filesOf(join(this.#dataDir, 'wal')).reduce((sum, file) => sum + file.bytes, 0)
    this.walBytesMax = Math.max(this.walBytesMax, bytes)
  }

  /** Chunk files that are there, by id. */
  chunkFiles(): number[] {
    return filesOf(join(this.#dataDir, 'chunks'))
      .map(({ name }) => chunkIdOf(name))
      .filter((id) => id !== undefined)
  }

  /** Chunk bytes on the disk that hold a partition's records; with `below`, only of chunks that end at or before that offset. */
  chunkBytes(topic: string, partition: number, below = Number.POSITIVE_INFINITY): number {
    let bytes = 0
    for (const id of this.chunkFiles()) {
      for (const section of this.#sections.get(id) ?? []) {
        const isMeant = section.topic === topic && section.partition === partition
        if (isMeant && section.endOffset <= below) bytes += section.bytes
      }
    }
    return bytes
  }

  /** Rejects when following the events failed. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stop.abort()
    await this.#followed
  }
}

/** A file may go while it is looked at. */
function filesOf(directory: string): { name: string; bytes: number }[] {
  let names: string[] = []
  try {
    names = readdirSync(directory)
  } catch {
    return []
  }
  return names.map((name) => {
    const stat = statSync(join(directory, name), { throwIfNoEntry: false })
    return { name, bytes: stat?.size ?? 0 }
  })
}
