import type { Socket } from 'node:net'
import type { AppendSource, ShardFace } from '../shard/shard-face.js'

/** One source of appends for each connection, whatever it writes: connections are served in turn. */
export class AppendSources {
  readonly #ofSockets = new WeakMap<Socket, AppendSource>()

  of(socket: Socket, shard: ShardFace): AppendSource {
    const known = this.#ofSockets.get(socket)
    if (known !== undefined) return known
    // Sockets are read on while the shard is busy: what they bring is bounded by the budget for bodies.
    const source = shard.openSource({ onPressure() {} })
    this.#ofSockets.set(socket, source)
    socket.once('close', () => source.close())
    return source
  }
}
