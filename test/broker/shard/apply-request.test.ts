import { describe, expect, test } from 'vitest'
import { answerRequest } from '../../../broker/shard/apply-request.js'
import { REQUESTS_KEPT, type ShardState } from '../../../broker/shard/state.js'
import { changedRows } from '../../../broker/shard/state-rows.js'
import { requestIdFrom } from '../../../protocol/ids.js'
import { newState } from './state-walk.js'

const idOf = (number: number) => requestIdFrom(number.toString(16).padStart(32, '0'))

/** What a manifest holds after flushes: in each, deletions come first. */
class FlushedRequests {
  readonly #rows = new Map<string, number>()

  flush(state: ShardState): void {
    const changes = changedRows(state, 1)
    for (const { requestId } of changes.delete?.requests ?? []) this.#rows.delete(requestId)
    for (const { requestId, order } of changes.put?.requests ?? []) this.#rows.set(requestId, order)
    state.overlay.clear()
  }

  /** In the order of their orders, as a start loads them. */
  get ids(): string[] {
    return [...this.#rows].sort(([, a], [, b]) => a - b).map(([requestId]) => requestId)
  }
}

describe('an answer to a request id that was used for another request', () => {
  test.each([
    [1, REQUESTS_KEPT],
    [REQUESTS_KEPT, 1],
    [REQUESTS_KEPT - 1, 2],
    [5, REQUESTS_KEPT - 5],
  ])('counts once and as the newest, in the manifest too (after %i, before %i)', (before, after) => {
    const state = newState()
    const flushed = new FlushedRequests()
    const answer = (number: number): void => answerRequest(state, idOf(number), { time: 1, result: number })
    for (let i = 0; i < before; i++) answer(i)
    flushed.flush(state)
    answer(0)
    for (let i = 0; i < after; i++) answer(10_000 + i)
    flushed.flush(state)
    expect(state.requests.size).toBe(Math.min(before + after, REQUESTS_KEPT))
    expect(flushed.ids).toEqual([...state.requests.keys()])
    for (let i = 0; i < REQUESTS_KEPT; i++) answer(20_000 + i)
    flushed.flush(state)
    expect(flushed.ids).toEqual([...state.requests.keys()])
    expect(state.requests.has(idOf(0))).toBe(false)
  })
})
