import type { BrokerOptions } from '../../broker/config/schema.js'
import type { SeededRandom } from '../support/seeded-random.js'

const KIB = 1024
const MINUTE = 60_000

const FACE_ODDS = 0.25

/** How slow a disk or network is: each operation takes a time between the two, milliseconds. */
export interface Pace {
  readonly msMin: number
  readonly msMax: number
}

/** What one run is like. Drawn from the seed, and far from the average on purpose: rare mixtures find rare bugs. */
export interface Plan {
  readonly disk: Pace
  readonly network: Pace
  readonly splitOdds: number
  /** How likely the broker is held up at a failpoint. */
  readonly holdOdds: number
  /** How long programs think between two actions. */
  readonly think: Pace
  readonly broker: BrokerOptions
  /** What is done over HTTP beside what the client library does; in most runs nothing, because each life of a broker that serves HTTP costs more. */
  readonly face: Face | undefined
  /** How many of each happen in a thousand steps. */
  readonly faults: Faults
}

export type Face = 'streams' | 'tails' | 'chunks'

export interface Faults {
  readonly powerCut: number
  readonly kill: number
  /** A power cut or kill at the next hit of some failpoint. */
  readonly failpoint: number
  readonly stop: number
  readonly cut: number
  readonly silence: number
  readonly slowDisk: number
  readonly writeError: number
  readonly syncError: number
  readonly readError: number
  readonly manifestError: number
  /** A bit of a file comes back wrong for a while. */
  readonly rot: number
  readonly fullDisk: number
  readonly clockJump: number
  readonly stall: number
  readonly clientDeath: number
}

/** `apart` decides what came later: so a seed that says nothing of that is the run that it was before. */
export function drawPlan(random: SeededRandom, apart: SeededRandom): Plan {
  const disk = random.pick([
    { msMin: 0.05, msMax: 0.3 },
    { msMin: 0.1, msMax: 2 },
    { msMin: 0.5, msMax: 15 },
  ])
  const network = random.pick([
    { msMin: 0.02, msMax: 0.2 },
    { msMin: 0.2, msMax: 3 },
    { msMin: 1, msMax: 25 },
  ])
  const think = random.pick([
    { msMin: 0, msMax: 2 },
    { msMin: 0, msMax: 20 },
    { msMin: 1, msMax: 200 },
  ])
  /** In half of the runs a kind of fault does not occur at all, so that no kind hides what another would show. */
  const some = (perThousand: number): number => (random.chance(0.5) ? 0 : perThousand * 2 * random.fraction())
  return {
    disk,
    network,
    think,
    splitOdds: random.pick([0, 0, 0.05, 0.3]),
    holdOdds: random.pick([0, 0, 0.02]),
    broker: drawConfig(random),
    face: apart.chance(FACE_ODDS)
      ? apart.pick(['streams', 'streams', 'streams', 'tails', 'chunks', 'chunks'])
      : undefined,
    faults: {
      powerCut: 1.5 * random.fraction() ** 2,
      kill: some(0.7),
      failpoint: 1 + 3 * random.fraction(),
      stop: some(0.4),
      cut: some(4),
      silence: some(1),
      slowDisk: some(0.5),
      writeError: some(0.3),
      syncError: some(0.3),
      readError: random.chance(0.4) ? 2 * random.fraction() : 0,
      manifestError: some(0.2),
      rot: random.chance(0.3) ? 3 * random.fraction() : 0,
      fullDisk: some(0.3),
      clockJump: some(1),
      stall: some(1),
      clientDeath: some(1),
    },
  }
}

/** Small, so that segments roll, chunks seal, caches evict and caps are reached within a run. */
function drawConfig(random: SeededRandom): BrokerOptions {
  const walSegmentBytes = random.pick([160 * KIB, 192 * KIB, 512 * KIB])
  return {
    dataDir: '/data',
    frameBytesMax: 256 * KIB,
    recordBytesMax: 16 * KIB,
    batchBytesMax: 32 * KIB,
    groupBytesMax: random.pick([8 * KIB, 32 * KIB]),
    inFlightBytesPerConnection: 256 * KIB,
    inFlightBytes: 1024 * KIB,
    heartbeatMs: random.pick([500, 2_000]),
    helloTimeoutMs: 2_000,
    walSegmentBytes,
    walBytesMax: walSegmentBytes * random.pick([4, 6, 12]),
    spareWalSegments: random.pick([1, 2]),
    walBacklogBytes: random.pick([34 * KIB, 256 * KIB]),
    backpressureDeadlineMs: random.pick([20, 2_000]),
    proofIdleMs: random.pick([1, 20, 100]),
    tailCacheBytes: random.pick([34 * KIB, 64 * KIB, 512 * KIB]),
    chunkBytes: random.pick([4 * KIB, 16 * KIB, 64 * KIB]),
    chunkMaxAgeMs: random.pick([200, 2_000, 10 * MINUTE]),
    manifestFlushMs: random.pick([2, 50, 1_000]),
    snapshotEveryBytes: random.pick([64 * KIB, 256 * KIB]),
    diskFreeBytesMin: random.pick([0, 256 * KIB]),
    changesBytesMax: 1024 * KIB,
    drainMs: 200,
  }
}
