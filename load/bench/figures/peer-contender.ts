import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Peer, RunningPeer } from '../../peers/peer.js'
import type { BenchContext, Contender, Taken } from '../figure.js'
import { isYardstick, peerSeries } from '../peer-series.js'

/** A peer that takes longer is given up: none may hold up the others. */
const TAKE_MS_MAX = 90_000

type Task = (running: RunningPeer) => Promise<number> | undefined

/** Every peer that is found here, at one task; undefined where it cannot do it. Records or jobs per second. */
export function peersAt(context: BenchContext, task: Task, what?: string): Contender[] {
  return contenders(context, what, async (running, peer) => {
    const perSecond = await task(running)
    return perSecond === undefined ? undefined : { [peerSeries(peer.name, what)]: perSecond }
  })
}

export function peersAtLoneSends(
  context: BenchContext,
  options: { recordBytes: number; count: number },
): Contender[] {
  return contenders(context, 'lone sends', async (running, peer) => {
    const { name } = peer
    // Some take 40 ms for each.
    const count = isYardstick(peer) ? options.count : Math.min(200, options.count)
    const latency = await running.loneSends?.({ ...options, count })
    if (latency === undefined) return undefined
    return { [peerSeries(name, 'p50')]: latency.p50Ms, [peerSeries(name, 'p99')]: latency.p99Ms }
  })
}

/** A server of its own for each run, on an empty directory. Peers that no bar rests on are taken once. */
function contenders(
  context: BenchContext,
  what: string | undefined,
  use: (running: RunningPeer, peer: Peer) => Promise<Taken | undefined>,
): Contender[] {
  return context.peers.map(({ peer }) => ({
    name: peerSeries(peer.name, what),
    isOnce: !isYardstick(peer),
    async take() {
      const directory = join(context.directory, 'peer')
      await rm(directory, { recursive: true, force: true })
      await mkdir(directory, { recursive: true })
      const running = await peer.start(directory)
      try {
        return await within(TAKE_MS_MAX, use(running, peer))
      } finally {
        await running.stop()
      }
    },
  }))
}

/** Rejects when it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms / 1_000} s`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
