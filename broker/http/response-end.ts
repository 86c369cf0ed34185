import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const onSocket = new WeakMap<Socket, Set<() => void>>()

/**
 * Calls back once, when a response is sent or its client is gone. A response alone does not tell: one that stands behind another
 * on its connection never hears that the connection has gone.
 */
export function whenClosed(response: ServerResponse, closed: () => void): void {
  const { socket } = response.req
  if (socket.destroyed || response.closed) {
    queueMicrotask(closed)
    return
  }
  const waiting = waitingOn(socket)
  const once = (): void => {
    response.off('close', once)
    if (waiting.delete(once)) closed()
  }
  waiting.add(once)
  response.once('close', once)
}

function waitingOn(socket: Socket): Set<() => void> {
  const known = onSocket.get(socket)
  if (known !== undefined) return known
  const waiting = new Set<() => void>()
  onSocket.set(socket, waiting)
  socket.once('close', () => {
    for (const each of [...waiting]) each()
  })
  return waiting
}
