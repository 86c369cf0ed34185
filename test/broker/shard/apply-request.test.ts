import { pack, unpack } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { answerRequest } from '../../../broker/shard/apply-request.js'
import { REQUESTS_BYTES_MAX } from '../../../broker/shard/request-bytes.js'
import { REQUESTS_KEPT, ShardState } from '../../../broker/shard/state.js'
import { changedRows } from '../../../broker/shard/state-rows.js'
import { requestIdFrom } from '../../../protocol/ids.js'
import { someContents } from '../manifest/rows.js'
import { newState } from './state-walk.js'

/** The rows of an empty shard. */
const nothing = someContents({ topics: 0, partitions: 0, chunks: 0 })

const idOf = (number: number) => requestIdFrom(number.toString(16).padStart(32, '0'))

/** What a manifest holds after flushes: in each, deletions come first. */
class FlushedRequests {
  readonly #rows = new Map<string, number>()

  flush(state: ShardState): void {
    const { rows: changes } = changedRows(state, 1)
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

describe('answers that name many cursors', () => {
  const moves = Array.from({ length: 4096 }, (_, partition) => ({
    topicId: 'a'.repeat(32),
    partition,
    offset: 0,
  }))

  test('are fewer: together they never pass a cap in bytes, in the manifest either', () => {
    const state = newState()
    const flushed = new FlushedRequests()
    let most = 0
    for (let i = 0; i < 100; i++) {
      answerRequest(state, idOf(i), { time: 1, result: { groupId: 1, moves } })
      most = Math.max(most, state.requestBytes)
      if (i % 7 === 0) flushed.flush(state)
    }
    flushed.flush(state)
    expect(most).toBeGreaterThan(REQUESTS_BYTES_MAX / 2)
    expect(most).toBeLessThanOrEqual(REQUESTS_BYTES_MAX)
    expect(state.requests.has(idOf(99))).toBe(true)
    expect(flushed.ids).toEqual([...state.requests.keys()])
    for (let i = 0; i < REQUESTS_KEPT; i++) answerRequest(state, idOf(1000 + i), { time: 1, result: i })
    expect(state.requestBytes).toBe(REQUESTS_KEPT * 208)
  })

  test('go from a state that was loaded as from the one that was not', () => {
    const state = newState()
    const answer = (to: ShardState, i: number) =>
      answerRequest(to, idOf(i), { time: 1, result: { groupId: i, moves: moves.slice(i) } })
    for (let i = 0; i < 50; i++) answer(state, i)
    const loaded = new ShardState(state)
    const rows = [...state.requests.values()].map((row) => structuredClone(row)).reverse()
    loaded.load({ ...nothing, shard: state.shardRow(0), requests: rows })
    expect(loaded.requestBytes).toBe(state.requestBytes)
    for (let i = 50; i < 60; i++) {
      answer(state, i)
      answer(loaded, i)
    }
    expect(state.requests.size).toBeLessThan(50)
    expect(loaded.hash()).toBe(state.hash())
  })

  test('are kept even if one alone is more than the cap', () => {
    const state = newState()
    answerRequest(state, idOf(1), { time: 1, result: 'small' })
    answerRequest(state, idOf(2), { time: 1, result: 'x'.repeat(REQUESTS_BYTES_MAX + 1) })
    expect([...state.requests.keys()]).toEqual([idOf(2)])
  })
})

describe('an answer with a field that is not there', () => {
  test('is the same to a retry before and after the manifest has held it', () => {
    const state = newState()
    const result = {
      topicId: 'a',
      options: { maxBytes: null, publicCache: undefined },
      moves: [{ lag: undefined }],
    }
    answerRequest(state, idOf(1), { time: 1, result })
    const kept = state.requests.get(idOf(1))!.result
    expect(unpack(pack(kept))).toStrictEqual(kept)
    expect(kept).toStrictEqual({ topicId: 'a', options: { maxBytes: null }, moves: [{}] })
  })
})
