import { describe, expect, test } from 'vitest'
import {
  ANSWER_KEPT_MS,
  ANSWER_STEP_MS_MAX,
  ANSWERS_BYTES_MAX,
  ANSWERS_MAX,
  Answers,
} from '../../../broker/shard/answers.js'
import { requestIdFrom } from '../../../protocol/ids.js'
import { SeededRandom } from '../../support/seeded-random.js'

const idOf = (number: number) => requestIdFrom(number.toString(16).padStart(32, '0'))

describe('the answers of atomic writes', () => {
  test('are kept for ten minutes of logged time, and go when the next one comes', () => {
    const answers = new Answers()
    let evicted: number[] = []
    let number = 0
    for (let time = 0; time <= ANSWER_KEPT_MS; time += ANSWER_STEP_MS_MAX) {
      evicted = answers
        .add({ requestId: idOf(++number), time, result: time })
        .evicted.map(({ order }) => order)
      expect(evicted).toEqual([])
    }
    const late = answers.add({ requestId: idOf(++number), time: ANSWER_KEPT_MS + 1, result: 'late' })
    expect(late.evicted.map(({ order }) => order)).toEqual([1])
    expect(answers.get(idOf(1))).toBeUndefined()
    expect(answers.get(idOf(2))?.result).toBe(ANSWER_STEP_MS_MAX)
    expect(answers.rows().map(({ order }) => order)).toEqual(
      Array.from({ length: number - 1 }, (_, i) => i + 2),
    )
  })

  test('survive a clock that jumps ahead, by however much: they age by a few seconds then', () => {
    const answers = new Answers()
    answers.add({ requestId: idOf(1), time: 1_000, result: 'in flight' })
    let time = 1_000
    for (let jump = 0; jump < ANSWER_KEPT_MS / ANSWER_STEP_MS_MAX; jump++) {
      time += 365 * 24 * 3_600_000
      expect(answers.add({ requestId: idOf(2 + jump), time, result: jump }).evicted).toEqual([])
    }
    expect(answers.get(idOf(1))?.result).toBe('in flight')
    expect(answers.add({ requestId: idOf(1_000), time: time + 1, result: 'last' }).evicted).toHaveLength(1)
  })

  test('go at the same times from a state that was loaded', () => {
    const answers = new Answers()
    const random = new SeededRandom(7)
    let time = 0
    for (let i = 0; i < 1_000; i++) {
      const loaded = new Answers()
      loaded.order = answers.order
      for (const row of answers.rows()) loaded.load(row)
      time += random.pick([0, 1, 500, ANSWER_STEP_MS_MAX, 10 * ANSWER_STEP_MS_MAX])
      // An id that comes again takes the place of the older one.
      const answer = { requestId: idOf(random.below(500)), time, result: i }
      expect(loaded.add(answer).evicted).toEqual(answers.add(answer).evicted)
    }
    expect(answers.order - answers.size).toBeGreaterThan(800)
  })

  test('are never more than their cap, however many come in no time', () => {
    const answers = new Answers()
    let evicted = 0
    let most = 0
    for (let i = 0; i < 3 * ANSWERS_MAX; i++) {
      evicted += answers.add({ requestId: idOf(i), time: 0, result: i }).evicted.length
      most = Math.max(most, answers.size)
    }
    expect(most).toBe(ANSWERS_MAX)
    expect(evicted).toBe(2 * ANSWERS_MAX)
    expect(answers.rows()[0]?.result).toBe(2 * ANSWERS_MAX)
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
    for (let i = 1; i <= 1_000; i++)
      answers.add({ requestId: idOf(1_000 + i), time: i * ANSWER_STEP_MS_MAX, result: 'late' })
    const left = ANSWER_KEPT_MS / ANSWER_STEP_MS_MAX + 1
    expect([answers.size, answers.bytes]).toEqual([left, left * 208])
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
