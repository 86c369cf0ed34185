import { expect, it } from 'vitest'
import { DiskReads } from '../../../broker/shard/disk-reads.js'

it('only so many reads are under way at a time, and the others follow in order of their asking, failures or not', async () => {
  const reads = new DiskReads({ max: 2 })
  const begun: number[] = []
  const ends: ((isGood: boolean) => void)[] = []
  const results = Array.from({ length: 6 }, (_, i) =>
    reads
      .run(() => {
        begun.push(i)
        return new Promise<number>((resolve, reject) =>
          ends.push((isGood) => (isGood ? resolve(i) : reject(new Error(`read ${i}`)))),
        )
      })
      .catch((error: Error) => error.message),
  )
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  expect(begun).toEqual([0, 1])
  ends[1]?.(false)
  await settled()
  expect(begun).toEqual([0, 1, 2])
  for (let i = 0; i < 6; i++) {
    ends[i]?.(true)
    await settled()
  }
  expect(await Promise.all(results)).toEqual([0, 'read 1', 2, 3, 4, 5])
  expect(begun).toEqual([0, 1, 2, 3, 4, 5])
  const later = [6, 7, 8].map((i) => reads.run(async () => void begun.push(i)))
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  await Promise.all(later)
})

it('what several reads bring at once comes one by one, each in a turn of the event loop of its own', async () => {
  const reads = new DiskReads({ max: 3 })
  const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  const came: number[] = []
  const all = [0, 1, 2, 3].map((i) => reads.run(async () => i).then((read) => came.push(read)))
  for (const expected of [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]) {
    await nextTurn()
    expect(came.length).toBeLessThanOrEqual(expected.length)
  }
  await Promise.all(all)
  expect(came).toEqual([0, 1, 2, 3])
  // Nobody waits whose bytes come alone.
  await nextTurn()
  let isThere = false
  void reads.run(async () => {}).then(() => (isThere = true))
  for (let i = 0; i < 10; i++) await Promise.resolve()
  expect(isThere).toBe(true)
})
