import type { Peer } from '../peers/peer.js'

/** A peer whose server can be started here. */
export interface FoundPeer {
  readonly peer: Peer
  readonly version: string
}

/** The peers that bars name, in their durable modes; other peers and modes are shown beside them. */
export const REDIS = 'Redis Streams, appendfsync always'
export const JETSTREAM = 'NATS JetStream, sync always'

/** What a peer's series is called, of the thing that a figure measures first or of another one. */
export const peerSeries = (name: string, what?: string): string =>
  what === undefined ? name : `${name}: ${what}`

/** Whether a bar rests on it. */
export const isYardstick = ({ name }: Pick<Peer, 'name'>): boolean => name === REDIS || name === JETSTREAM

export interface PeersHere {
  readonly measured: readonly FoundPeer[]
  readonly notMeasured: readonly { readonly name: string; readonly why: string }[]
}

/** Which peers are measured: those that can be started here, and in a quick run those alone that bars name. */
export async function peersHere(
  peers: readonly Peer[],
  { isQuick }: { isQuick: boolean },
): Promise<PeersHere> {
  const measured: FoundPeer[] = []
  const notMeasured: { name: string; why: string }[] = []
  for (const peer of peers) {
    const version = await peer.find()
    if (version === undefined) notMeasured.push({ name: peer.name, why: 'cannot be started here' })
    else if (isQuick && !isYardstick(peer)) notMeasured.push({ name: peer.name, why: '--quick' })
    else measured.push({ peer, version })
  }
  return { measured, notMeasured }
}
