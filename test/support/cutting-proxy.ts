import { once } from 'node:events'
import { type AddressInfo, createServer, connect as dial, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SeededRandom } from './seeded-random.js'

export interface ProxyCounts {
  connections: number
  /** Ended both ways in the middle of something. */
  cuts: number
  /** Held without a word, and delivered late or not at all. */
  freezes: number
}

/** Bytes that get through before something happens: 64 to 32 Ki, small numbers as often as large ones. A HELLO takes some 600. */
const BYTES_BITS_MIN = 6
const BYTES_BITS_MAX = 15
const FREEZE_MS_MAX = 3_000
const DELAY_MS_MAX = 15

/**
 * A network between clients and a broker that does what networks do: it cuts connections at any byte, in either direction, delays,
 * and freezes: nothing gets through, nobody is told, and what was sent may still arrive when its sender has long given up.
 */
export class CuttingProxy {
  readonly counts: ProxyCounts = { connections: 0, cuts: 0, freezes: 0 }
  readonly #random: SeededRandom
  readonly #target: () => number
  readonly #server: Server
  readonly #connections = new Set<ProxiedConnection>()
  #isHonest = false

  private constructor(random: SeededRandom, target: () => number) {
    this.#random = random
    this.#target = target
    this.#server = createServer((client) => this.#accept(client))
  }

  /** `target`: the broker's port. */
  static async listen(random: SeededRandom, target: () => number): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(random, target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  #accept(client: Socket): void {
    this.counts.connections++
    const connection = new ProxiedConnection(client, dial(this.#target(), '127.0.0.1'), {
      // One of its own, so that only the order of connections shifts what happens to them.
      random: this.#isHonest ? undefined : this.#random.fork(),
      counts: this.counts,
      onClosed: () => this.#connections.delete(connection),
    })
    this.#connections.add(connection)
  }

  /** From now on everything gets through. What is frozen is cut. */
  becomeHonest(): void {
    this.#isHonest = true
    for (const connection of this.#connections) connection.becomeHonest()
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

interface ProxiedOptions {
  /** undefined: nothing happens to it. */
  readonly random: SeededRandom | undefined
  readonly counts: ProxyCounts
  readonly onClosed: () => void
}

class ProxiedConnection {
  readonly #client: Socket
  readonly #broker: Socket
  readonly #options: ProxiedOptions
  #isHonest: boolean
  #frozen: Promise<void> | undefined
  #isClosed = false

  constructor(client: Socket, broker: Socket, options: ProxiedOptions) {
    this.#client = client
    this.#broker = broker
    this.#options = options
    this.#isHonest = options.random === undefined
    client.setNoDelay(true)
    broker.setNoDelay(true)
    void this.#pump(client, broker, options.random?.fork())
    void this.#pump(broker, client, options.random?.fork())
  }

  /** Carries bytes until something happens at a byte drawn before. */
  async #pump(from: Socket, to: Socket, random: SeededRandom | undefined): Promise<void> {
    let left = random === undefined ? Number.POSITIVE_INFINITY : bytesUntilTrouble(random)
    const isSlow = random?.chance(0.3) ?? false
    try {
      for await (const data of from) {
        const bytes = data as Buffer
        if (this.#frozen !== undefined) await this.#frozen
        if (random === undefined || this.#isHonest || bytes.length < left) {
          if (isSlow && !this.#isHonest) await sleep(random?.below(DELAY_MS_MAX))
          left -= bytes.length
          await written(to, bytes)
          continue
        }
        await written(to, bytes.subarray(0, left))
        if (random.chance(0.6)) {
          this.#options.counts.cuts++
          return
        }
        this.#options.counts.freezes++
        this.#frozen = sleep(random.below(FREEZE_MS_MAX), undefined, { ref: false }).then(() => {
          this.#frozen = undefined
        })
        await this.#frozen
        // What was under way arrives after all, or never.
        if (random.chance(0.5)) return
        await written(to, bytes.subarray(left))
        left = bytesUntilTrouble(random)
      }
      // Whoever is on the other side of a frozen connection does not hear that this one went.
      if (this.#frozen !== undefined) await this.#frozen
    } catch {
      if (this.#frozen !== undefined) await this.#frozen
    } finally {
      this.destroy()
    }
  }

  becomeHonest(): void {
    this.#isHonest = true
    if (this.#frozen !== undefined) this.destroy()
  }

  destroy(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#client.destroy()
    this.#broker.destroy()
    this.#options.onClosed()
  }
}

const bytesUntilTrouble = (random: SeededRandom): number =>
  Math.ceil(2 ** (BYTES_BITS_MIN + random.fraction() * (BYTES_BITS_MAX - BYTES_BITS_MIN)))

async function written(socket: Socket, bytes: Uint8Array): Promise<void> {
  if (socket.destroyed) throw new Error('the other side is gone')
  if (bytes.length === 0 || socket.write(bytes)) return
  await Promise.race([once(socket, 'drain'), once(socket, 'close')])
}
