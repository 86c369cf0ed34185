import { describe, expect, test } from 'vitest'
import { Manifest } from '../../../broker/manifest/manifest.js'
import { COMMAND_TYPES } from '../../../broker/shard/commands.js'
import type { QueueState } from '../../../broker/shard/queue-state.js'
import type { CursorState, GroupState, ShardState } from '../../../broker/shard/state.js'
import { allRows, changedRows } from '../../../broker/shard/state-rows.js'
import { memberIdFrom, requestIdFrom } from '../../../protocol/ids.js'
import { PageMemory } from '../../support/page-memory.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedStore } from '../../support/simulated-store.js'
import { newState, StateWalk } from './state-walk.js'

const SEEDS = 30
const STEPS = 600

/** The state that a start would make of what the store holds; the invariants are checked on the way. */
function loaded(store: SimulatedStore, pages: PageMemory): ShardState {
  const state = newState()
  state.load(pages.filled(new Manifest(store).load()))
  return state
}

const flush = (manifest: Manifest, state: ShardState, memory: PageMemory): Promise<void> => {
  const { rows, pages } = changedRows(state, state.applied.sequence + 1)
  memory.write(pages)
  const flushing = manifest.flush(rows)
  state.overlay.clear()
  state.dedup.flushed(state.applied.sequence)
  return flushing
}

describe('the state of a shard', () => {
  test('is the same whether commands are applied as decided, as replayed, or loaded from flushes on the way', async () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new SeededRandom(seed)
      const walk = new StateWalk(random)
      const store = new SimulatedStore({ seed })
      const pages = new PageMemory()
      const manifest = new Manifest(store)
      manifest.load()
      for (let step = 0; step < STEPS; step++) {
        walk.step()
        if (random.chance(0.03)) await flush(manifest, walk.decided, pages)
      }
      await flush(manifest, walk.decided, pages)
      const hash = walk.decided.hash()
      expect(walk.replayed.hash(), `replayed, seed ${seed}`).toBe(hash)
      expect(loaded(store, pages).hash(), `loaded, seed ${seed}`).toBe(hash)
      for (const type of walk.seen) seen.add(type)
    }
    // A shard's own epoch is the start's business.
    const expected = ['append', ...COMMAND_TYPES.filter((type) => type !== 'shardEpochStarted')]
    expect([...seen].sort()).toEqual(expected.sort())
  })

  test('goes on from a manifest in the middle as if it had never stopped', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const walk = new StateWalk(new SeededRandom(seed))
      for (let step = 0; step < 300; step++) walk.step()
      const store = new SimulatedStore({ seed })
      const pages = new PageMemory()
      const manifest = new Manifest(store)
      manifest.load()
      await manifest.flush(allRows(walk.decided, 1))
      const copy = loaded(store, pages)
      expect(copy.hash()).toBe(walk.decided.hash())
      expect(copy.overlayBytes).toBe(0)
      expect(copy.dedup.bytes).toBeLessThanOrEqual(walk.decided.dedup.bytes * 2)
    }
  })

  test('counts what the manifest lacks, and nothing after a flush', () => {
    const walk = new StateWalk(new SeededRandom(3))
    for (let step = 0; step < 300; step++) walk.step()
    const { decided } = walk
    expect(decided.overlayBytes).toBeGreaterThan(10_000)
    decided.overlay.clear()
    decided.dedup.flushed(1)
    expect(decided.overlayBytes).toBe(0)
  })

  test('has another hash after any change of a cursor, a queue, a group, an answer, an option or a dedup id', () => {
    const walk = new StateWalk(new SeededRandom(2))
    const { decided } = walk
    const all = <T>(of: (group: GroupState) => Iterable<T>): T[] =>
      [...decided.groups.values()].flatMap((group) => [...of(group)])
    while (all((group) => group.cursors).length === 0 || all((group) => group.queues).length === 0)
      walk.step()
    const [[, cursor]] = all((group) => group.cursors) as [[string, CursorState]]
    const [[, queue]] = all((group) => group.queues) as [[string, QueueState]]
    const [group] = decided.groups.values()
    const [topic] = decided.topics.values()
    if (group === undefined || topic === undefined) throw new Error('a group and a topic')
    const { topicId } = topic.row
    const ids = { bitmap: Uint8Array.of(1), hashes: new Uint8Array(16).fill(7) }
    const entry = {
      windowMs: 1_000,
      time: decided.time,
      partition: 0,
      baseOffset: 0,
      ids,
      omitted: undefined,
    }
    const changes = [
      () => cursor.offset++,
      () => cursor.own(memberIdFrom('ef'.repeat(16)), cursor.ownerEpoch),
      () => queue.nextLeaseId++,
      () => queue.reset(queue.frontier + 1, queue.movedAt),
      () => group.epoch++,
      () => decided.nextGroupId++,
      () => decided.answers.add({ requestId: requestIdFrom('ab'.repeat(16)), time: decided.time, result: 1 }),
      () => (topic.row = { ...topic.row, options: { ...topic.row.options, maxBytes: 1 } }),
      () => decided.dedup.insert({ topicId, ...entry }),
    ]
    const hashes = new Set([decided.hash()])
    for (const change of changes) {
      change()
      hashes.add(decided.hash())
    }
    expect(hashes.size).toBe(changes.length + 1)
  })
})
