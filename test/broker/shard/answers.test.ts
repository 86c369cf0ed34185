import { describe, expect, test } from 'vitest'
import { ANSWER_KEPT_MS, ANSWERS_BYTES_MAX, ANSWERS_MAX, Answers } from '../../../broker/shard/answers.js'
import { requestIdFrom } from '../../../protocol/ids.js'

const idOf = (number: number) => requestIdFrom(number.toString(16).padStart(32, '0'))

describe('the answers of atomic writes', () => {
  test('are kept for ten minutes of logged time, and go when the next one comes', () => {
    const answers = new Answers()
    answers.add({ requestId: idOf(1), time: 0, result: 'a' })
    answers.add({ requestId: idOf(2), time: 1_000, result: 'b' })
    expect(answers.add({ requestId: idOf(3), time: ANSWER_KEPT_MS, result: 'c' }).evicted).toEqual([])
    const { evicted } = answers.add({ requestId: idOf(4), time: ANSWER_KEPT_MS + 1, result: 'd' })
    expect(evicted.map(({ result }) => result)).toEqual(['a'])
    expect(answers.get(idOf(1))).toBeUndefined()
    expect(answers.get(idOf(2))?.result).toBe('b')
    expect(answers.rows().map(({ order }) => order)).toEqual([2, 3, 4])
  })

  test('are never more than their cap, however many come in no time', () => {
    const answers = new Answers()
    const startedMs = performance.now()
    let evicted = 0
    let most = 0
    for (let i = 0; i < 3 * ANSWERS_MAX; i++) {
      evicted += answers.add({ requestId: idOf(i), time: 0, result: i }).evicted.length
      most = Math.max(most, answers.size)
    }
    expect(most).toBe(ANSWERS_MAX)
    expect(evicted).toBe(2 * ANSWERS_MAX)
    expect(answers.rows()[0]?.result).toBe(2 * ANSWERS_MAX)
    // A moment: the oldest is found without looking through those that are gone.
    expect(performance.now() - startedMs).toBeLessThan(10_000)
  })

  test('that name many duplicates are fewer: together they never pass a cap in bytes', () => {
    const answers = new Answers()
    const result = [1, [[0, 0, Array.from({ length: 4096 }, (_, index) => [index, 0, index])]]]
    let most = 0
    for (let i = 0; i < 1_000; i++) {
      answers.add({ requestId: idOf(i), time: 0, result })
      most = Math.max(most, answers.bytes)
    }
    expect(most).toBeGreaterThan(ANSWERS_BYTES_MAX / 2)
    expect(most).toBeLessThanOrEqual(ANSWERS_BYTES_MAX)
    expect(answers.size).toBeLessThan(500)
    expect(answers.get(idOf(999))?.result).toBe(result)
    // A state that was loaded evicts as the one that was not: it counts the same.
    const loaded = new Answers()
    loaded.order = answers.order
    for (const row of answers.rows()) loaded.load(row)
    expect(loaded.bytes).toBe(answers.bytes)
    const next = { requestId: idOf(1_000), time: 0, result }
    expect(loaded.add(next).evicted).toEqual(answers.add(next).evicted)
    answers.add({ requestId: idOf(1_001), time: ANSWER_KEPT_MS + 1, result: 'late' })
    expect([answers.size, answers.bytes]).toEqual([1, 208])
  })

  test('to one request id are never two', () => {
    const answers = new Answers()
    answers.add({ requestId: idOf(1), time: 0, result: 'a' })
    answers.add({ requestId: idOf(2), time: 0, result: 'b' })
    const { evicted } = answers.add({ requestId: idOf(1), time: 0, result: 'c' })
    expect(evicted.map(({ result }) => result)).toEqual(['a'])
    expect(answers.rows().map(({ result }) => result)).toEqual(['b', 'c'])
    expect(answers.size).toBe(2)
  })
})
