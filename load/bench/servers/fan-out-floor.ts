/**
 * The floor of a fan-out: for each connection a pread from one file, which the page cache holds, and a ws send of what was
 * read, as fast as each socket takes it. Begins when a connection sends something. argv: a directory for the file.
 */
import { openSync, readSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type WebSocket, WebSocketServer } from 'ws'

/** About what one of the broker's deliveries holds then. */
const PIECE_BYTES = 128 * 1024
const FILE_BYTES = 64 * 1024 * 1024

const file = openSync(join(process.argv[2] ?? '.', 'fan-out.log'), 'w+')
for (let at = 0; at < FILE_BYTES; at += PIECE_BYTES)
  writeSync(file, Buffer.alloc(PIECE_BYTES, at), 0, PIECE_BYTES, at)

/** One piece of a connection is under way at a time: with two hundred of them more makes it no faster. */
function stream(socket: WebSocket): void {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  let at = 0
  const send = (): void => {
    if (socket.readyState !== socket.OPEN) return
    readSync(file, piece, 0, piece.length, at)
    at = (at + piece.length) % FILE_BYTES
    socket.send(piece, send)
  }
  send()
}

const server = createServer()
const sockets = new WebSocketServer({ server, perMessageDeflate: false })
sockets.on('connection', (socket) => socket.once('message', () => stream(socket)))
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`)
})
process.on('SIGTERM', () => process.exit(0))
