import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'

/** Answers an upgrade request with an HTTP error and closes; nobody else looks after its socket any more. */
export function refuseUpgrade(socket: Socket, refusal: { status: number; message: string }): void {
  socket.on('error', () => socket.destroy())
  socket.once('finish', () => socket.destroy())
  const body = `${refusal.message}\n`
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
      'Connection: close',
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  )
}
