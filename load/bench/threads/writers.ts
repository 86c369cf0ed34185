import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { alignedMemory } from '../../../broker/platform/aligned-memory.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { STATE, type StorageThreadData } from './storage-thread.js'

const PAGE_BYTES = 64 * 1024

/** Writes bytes of its own, durably, past the page cache. */
export interface Writer {
  write(bytes: number, position: number): Promise<void>
  close(): Promise<void>
}

interface Sizes {
  readonly ringBytes: number
  readonly bytesMax: number
}

/** The file is written over from its beginning, so that no write makes it longer. */
async function prepare(path: string, { ringBytes }: Sizes): Promise<void> {
  const file = await open(path, 'w')
  const zeros = Buffer.alloc(1024 * 1024)
  for (let at = 0; at < ringBytes; at += zeros.length) await file.write(zeros, 0, zeros.length, at)
  await file.datasync()
  await file.close()
}

/** As the broker writes. */
async function poolWriter(path: string, sizes: Sizes): Promise<Writer> {
  await prepare(path, sizes)
  const file = await nodeDisk.open(path, 'durableDirect')
  const memory = alignedMemory(sizes.bytesMax).fill(1)
  return {
    write: (bytes, position) => file.write([memory.subarray(0, bytes)], position),
    close: () => file.close(),
  }
}

async function threadWriter(path: string, sizes: Sizes, by: StorageThreadData['by']): Promise<Writer> {
  await prepare(path, sizes)
  const pages = Math.ceil(sizes.bytesMax / PAGE_BYTES)
  // The memory of a module begins on a page, which a plain SharedArrayBuffer need not.
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  const memory = buffer as unknown as SharedArrayBuffer
  const state = new Int32Array(new SharedArrayBuffer(16))
  const workerData: StorageThreadData = { path, memory, state, by }
  const thread = new Worker(new URL('./storage-thread.js', import.meta.url), { workerData })
  await once(thread, 'message')
  const ask = (bytes: number, position: number): void => {
    state[STATE.bytes] = bytes
    state[STATE.position] = position
  }
  return {
    async write(bytes, position) {
      ask(bytes, position)
      if (by === 'messages') {
        const answer = once(thread, 'message')
        thread.postMessage(null)
        await answer
        return
      }
      const before = Atomics.load(state, STATE.done)
      Atomics.add(state, STATE.asked, 1)
      Atomics.notify(state, STATE.asked)
      const wait = waitAsync(state, STATE.done, before)
      if (wait.async) await wait.value
    },
    async close() {
      const ended = once(thread, 'exit')
      ask(0, 0)
      if (by === 'messages') thread.postMessage(null)
      else {
        Atomics.add(state, STATE.asked, 1)
        Atomics.notify(state, STATE.asked)
      }
      await ended
    },
  }
}

/** Younger than the library that this is compiled with. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(state: Int32Array, index: number, value: number): { async: boolean; value: Promise<string> }
}

export const WRITERS = {
  'the thread pool': poolWriter,
  'a thread, by Atomics': (path: string, sizes: Sizes) => threadWriter(path, sizes, 'atomics'),
  'a thread, by messages': (path: string, sizes: Sizes) => threadWriter(path, sizes, 'messages'),
}

export type WriterKind = keyof typeof WRITERS
