import type { Owner } from './scheduler.js'

/** An event that has been scheduled. */
export interface Task {
  atMs: number
  /** Of those at the same time, who was scheduled first. */
  readonly order: number
  readonly fn: () => void
  readonly kind: string
  readonly detail: string | number
  readonly owner: Owner
  isCancelled: boolean
}

/** Events by time, in a binary heap. Those that were cancelled, or whose owner is dead, never come out. */
export class EventQueue {
  readonly #heap: Task[] = []

  push(task: Task): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(task)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(task, heap[parent] as Task)) break
      heap[at] = heap[parent] as Task
      at = parent
    }
    heap[at] = task
  }

  /** The next one; undefined when there is none. */
  pop(): Task | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined) return undefined
      this.#removeFirst()
      if (!first.isCancelled && !first.owner.isDead) return first
    }
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop() as Task
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child++
      if (!isBefore(heap[child] as Task, last)) break
      heap[at] = heap[child] as Task
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
