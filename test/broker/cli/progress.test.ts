import type { WriteStream } from 'node:tty'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Progress } from '../../../broker/cli/progress.js'

let written: string[]
const stream = (fields: { isTTY: boolean; columns?: number }): WriteStream =>
  ({ ...fields, write: (text: string) => written.push(text) }) as unknown as WriteStream

beforeEach(() => {
  written = []
  vi.useFakeTimers({ toFake: ['performance'] })
})

afterEach(() => {
  vi.useRealTimers()
})

it('on a terminal one line says how far a command is, written anew five times a second at most', () => {
  let records = 0
  const progress = new Progress(() => `produced ${++records} records`, stream({ isTTY: true, columns: 80 }))
  for (let ms = 0; ms < 1_000; ms += 10) {
    progress.update()
    vi.advanceTimersByTime(10)
  }
  expect(written).toEqual([1, 2, 3, 4].map((n) => `\r\x1b[Kproduced ${n} records`))
})

it('a line that a terminal has no room for is cut, so that it stays one line', () => {
  const progress = new Progress(() => 'produced 12345 records', stream({ isTTY: true, columns: 10 }))
  vi.advanceTimersByTime(1_000)
  progress.update()
  expect(written).toEqual(['\r\x1b[Kproduced '])
})

it('the line is taken away before anything else is printed, once', () => {
  const progress = new Progress(() => 'half', stream({ isTTY: true, columns: 80 }))
  progress.clear()
  expect(written).toEqual([])
  vi.advanceTimersByTime(1_000)
  progress.update()
  progress.clear()
  progress.clear()
  expect(written).toEqual(['\r\x1b[Khalf', '\r\x1b[K'])
})

it('where there is no terminal nothing is written', () => {
  const progress = new Progress(() => 'half', stream({ isTTY: false }))
  vi.advanceTimersByTime(1_000)
  progress.update()
  progress.clear()
  expect(written).toEqual([])
})
