/** A thread that writes what it is asked to, synchronously, and says when it is on disk. */
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'

/** Places in the shared state. A write of no bytes ends the thread. */
export const STATE = { asked: 0, done: 1, bytes: 2, position: 3 } as const

export interface StorageThreadData {
  readonly path: string
  readonly memory: SharedArrayBuffer
  readonly state: Int32Array
  /** How the two threads wake each other. */
  readonly by: 'atomics' | 'messages'
}

function serve({ path, memory, state, by }: StorageThreadData): void {
  const { O_RDWR, O_DSYNC, O_DIRECT } = constants
  const descriptor = openSync(path, O_RDWR | O_DSYNC | O_DIRECT)
  const bytes = new Uint8Array(memory).fill(1)
  /** False when that was the end. */
  const write = (): boolean => {
    const length = state[STATE.bytes] as number
    if (length > 0) writeSync(descriptor, bytes, 0, length, state[STATE.position])
    else closeSync(descriptor)
    return length > 0
  }
  parentPort?.postMessage('ready')
  if (by === 'messages') {
    parentPort?.on('message', () => {
      if (write()) parentPort?.postMessage('done')
      else parentPort?.close()
    })
    return
  }
  for (let seen = 0; ; seen++) {
    Atomics.wait(state, STATE.asked, seen)
    if (!write()) return
    Atomics.add(state, STATE.done, 1)
    Atomics.notify(state, STATE.done)
  }
}

if (!isMainThread) serve(workerData as StorageThreadData)
