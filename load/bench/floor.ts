/**
 * The floor: the least that a durable WebSocket log must do, and nothing else. A frame is unpacked, its payload is written
 * to a preallocated O_DSYNC file, one write at a time with all that came meanwhile, then acknowledged. With `twice` every
 * byte is read back and written past the page cache to a second file that is synced every 8 MiB, as sealing does.
 */
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  openSync,
  read,
  write,
  writeSync,
  writev,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { unpack } from 'msgpackr'
import { type WebSocket, WebSocketServer } from 'ws'
import { packFrame } from '../../protocol/frame.js'
import { produce, produced } from '../../protocol/messages/index.js'

const [directory = '.', mode = 'once', fileMib = '64'] = process.argv.slice(2)
/** Written round and round: by default a ring as small as one WAL segment, which forgets what it acknowledged. */
const FILE_BYTES = Number(fileMib) * 1024 * 1024
const GROUP_BYTES_MAX = 1024 * 1024
const CHUNK_BYTES = 8 * 1024 * 1024
const zeros = Buffer.alloc(1024 * 1024)
const writevAt = promisify(writev)
const readAt = promisify(read)
const writeAt = promisify(write)
const sync = promisify(fdatasync)

function preallocated(name: string): number {
  const path = join(directory, name)
  const file = openSync(path, 'w')
  for (let at = 0; at < FILE_BYTES; at += zeros.length) {
    writeSync(file, zeros, 0, zeros.length, at)
    if (at % (256 * zeros.length) === 0) fdatasyncSync(file)
  }
  fdatasyncSync(file)
  closeSync(file)
  return openSync(path, constants.O_RDWR | constants.O_DSYNC)
}

const log = preallocated('floor.log')
const padding = Buffer.alloc(4096)
const queue: { socket: WebSocket; correlationId: number; payload: Uint8Array }[] = []
let isWriting = false
let position = 0
let unsealed = 0
let chunkCount = 0
let sealing: Promise<void> | undefined

async function drain(): Promise<void> {
  isWriting = true
  while (queue.length > 0) {
    let bytes = 0
    let count = 0
    while (
      count < queue.length &&
      (count === 0 || bytes + (queue[count]?.payload.length ?? 0) <= GROUP_BYTES_MAX)
    ) {
      bytes += queue[count++]?.payload.length ?? 0
    }
    const group = queue.splice(0, count)
    const pad = (4096 - (bytes % 4096)) % 4096
    if (position + bytes + pad > FILE_BYTES) position = 0
    await writevAt(log, [...group.map(({ payload }) => payload), padding.subarray(0, pad)], position)
    position += bytes + pad
    unsealed += bytes + pad
    acknowledge(group)
    if (mode === 'twice' && unsealed >= CHUNK_BYTES && sealing === undefined) {
      sealing = seal().finally(() => {
        sealing = undefined
      })
    }
    // A log that seals more slowly than it is written grows without end.
    if (mode === 'twice' && unsealed > 4 * CHUNK_BYTES) await sealing
  }
  isWriting = false
}

/** Of WebAssembly: it begins on a page, as direct writes need it. */
const piece = Buffer.from(new WebAssembly.Memory({ initial: 16, maximum: 16 }).buffer)
const NEW_DIRECT = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_DIRECT

async function seal(): Promise<void> {
  while (unsealed >= CHUNK_BYTES) {
    // A new file each time: what is sealed takes new blocks of the disk, as it does for a log that grows.
    const file = openSync(join(directory, `${chunkCount++}.chunk`), NEW_DIRECT)
    for (let at = 0; at < CHUNK_BYTES; at += piece.length) {
      await readAt(log, piece, 0, piece.length, at)
      await writeAt(file, piece, 0, piece.length, at)
    }
    await sync(file)
    closeSync(file)
    unsealed -= CHUNK_BYTES
  }
}

function acknowledge(group: typeof queue): void {
  const bySocket = new Map<
    WebSocket,
    { correlationId: number; baseOffset: number; appendTime: number; duplicate: boolean }[]
  >()
  for (const { socket, correlationId } of group) {
    const acks = bySocket.get(socket) ?? []
    acks.push({ correlationId, baseOffset: 0, appendTime: 0, duplicate: false })
    bySocket.set(socket, acks)
  }
  for (const [socket, acks] of bySocket) socket.send(packFrame(produced.write({ acks })))
}

const server = createServer()
const sockets = new WebSocketServer({ server, perMessageDeflate: false })
sockets.on('connection', (socket) => {
  socket.on('message', (data: Buffer) => {
    const frame = unpack(data) as unknown[]
    if (frame[0] !== produce.opcode) return
    queue.push({ socket, correlationId: frame[1] as number, payload: frame.at(-1) as Uint8Array })
    if (!isWriting) {
      isWriting = true
      setImmediate(() => void drain())
    }
  })
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`)
})
process.on('SIGTERM', () => {
  closeSync(log)
  process.exit(0)
})
