import { describe, expect, it } from 'vitest'
import { jsonElements } from '../../../../broker/http/streams/json-elements.js'
import { liveCursor } from '../../../../broker/http/streams/stream-cursor.js'
import { topicNameOf } from '../../../../broker/http/streams/stream-name.js'
import { segmentsOf } from '../../../../broker/shard/stream-segments.js'
import { type TopicId, topicIdFrom } from '../../../../protocol/ids.js'
import { SeededRandom } from '../../../support/seeded-random.js'

describe('the values of a JSON body', () => {
  it.each([
    ['{"a": [1, 2]}', ['{"a": [1, 2]}']],
    [' [1, "]", [2, [3]], {"x": ",["}, "\\"" ] ', ['1', '"]"', '[2, [3]]', '{"x": ",["}', '"\\""']],
    ['[9007199254740993, 1e400, -0.10]', ['9007199254740993', '1e400', '-0.10']],
    ['["\\\\", "\\\\\\"", ""]', ['"\\\\"', '"\\\\\\""', '""']],
    ['[[]]', ['[]']],
    ['[ ]', []],
    ['null', ['null']],
  ])('of %s are as they are written there', (text, elements) => {
    expect(jsonElements(text)).toEqual(elements)
  })

  it.each(['', '[1', '{"a":}', '[1,]', 'undefined', '[1] 2'])('are none in %j', (text) => {
    expect(() => jsonElements(text)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
  })
})

describe('the topic of a stream', () => {
  it('has its path for a name, where a topic may be called so', () => {
    for (const path of ['orders', 'a.b-c_d', '7', 'x_1']) expect(topicNameOf(path)).toBe(path)
    expect(topicNameOf('chat/room 1')).toBe('chat__2Froom__201')
    expect(topicNameOf('ä')).toBe('__C3__A4')
  })

  it('is never that of another stream', () => {
    const random = new SeededRandom(3)
    const parts = ['_', '__', '/', '2', 'F', '2F', 'a', 'é', '__2F', '.']
    const byName = new Map<string, string>()
    for (let i = 0; i < 20_000; i++) {
      const path = Array.from({ length: 1 + random.below(6) }, () => random.pick(parts)).join('')
      const name = topicNameOf(path)
      expect(name).toMatch(/^[A-Za-z0-9._-]+$/)
      expect(byName.get(name) ?? path).toBe(path)
      byName.set(name, path)
    }
  })
})

describe('the cursor of a live answer', () => {
  const random = new SeededRandom(1)
  const now = Date.UTC(2026, 0, 1)

  it('is the interval, and beyond what the client sent', () => {
    const interval = Number(liveCursor(undefined, { now, random }))
    expect(liveCursor(undefined, { now: now + 20_000, random })).toBe(String(interval + 1))
    expect(liveCursor('5', { now, random })).toBe(String(interval))
    expect(liveCursor('nonsense', { now, random })).toBe(String(interval))
    expect(Number(liveCursor(String(interval), { now, random }))).toBeGreaterThan(interval)
    expect(Number(liveCursor(String(interval + 9), { now, random }))).toBeGreaterThan(interval + 9)
  })
})

describe('where a stream’s records stand', () => {
  const [root, child, grandchild] = ['a', 'b', 'c'].map((digit) => topicIdFrom(digit.repeat(32))) as [
    TopicId,
    TopicId,
    TopicId,
  ]
  const at = (topicId: TopicId, endOffset: number, endBytes = 0) => ({
    ...{ topicId, endOffset, endBytes },
    offset: 0,
    subOffset: 0,
  })
  const all = Number.POSITIVE_INFINITY

  it('is in its own topic, for one that is no fork', () => {
    expect(segmentsOf(root, () => null)).toEqual([{ topicId: root, from: 0, to: all, endBytes: 0 }])
  })

  it('is in each of its sources up to where the next one leaves it', () => {
    const forks = new Map([
      [child, at(root, 5)],
      [grandchild, at(child, 8)],
    ])
    expect(segmentsOf(grandchild, (topicId) => forks.get(topicId) ?? null)).toEqual([
      { topicId: root, from: 0, to: 5, endBytes: 0 },
      { topicId: child, from: 5, to: 8, endBytes: 0 },
      { topicId: grandchild, from: 8, to: all, endBytes: 0 },
    ])
  })

  it('is not in a source that was left before what it forked begins', () => {
    const forks = new Map([
      [child, at(root, 5, 3)],
      [grandchild, at(child, 2)],
    ])
    expect(segmentsOf(grandchild, (topicId) => forks.get(topicId) ?? null)).toEqual([
      { topicId: root, from: 0, to: 2, endBytes: 0 },
      { topicId: grandchild, from: 2, to: all, endBytes: 0 },
    ])
  })

  it('is a part of a record where one fork after the other takes less of it', () => {
    const forks = new Map([
      [child, at(root, 5, 4)],
      [grandchild, at(child, 5, 2)],
    ])
    const segments = segmentsOf(grandchild, (topicId) => forks.get(topicId) ?? null)
    expect(segments[0]).toEqual({ topicId: root, from: 0, to: 5, endBytes: 2 })
  })
})
