import { Socket } from 'node:net'

/** What `net` keeps behind a socket: the same object since Node 0.x, and the only way to read into memory of one's own. */
interface WithHandle {
  _handle: unknown
}

/** How much one read takes from the kernel. */
export const READ_BYTES = 256 * 1024

/** All sockets read into this: what is in it is taken out before the next read. */
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)

/**
 * The connection of `socket` as a new socket that reads into one buffer that all connections share, and emits no `data`.
 * A plain one allocates 64 KiB for each read, which at hundreds of megabytes per second keeps the garbage collector
 * marking without a pause. `socket` is spent. It must not have been read from since its last `data`.
 */
export function readInPlace(socket: Socket, onBytes: (bytes: Buffer) => void): Socket {
  const spent = socket as unknown as WithHandle
  const handle = spent._handle
  if (handle === null || handle === undefined) throw new Error('the socket has no handle')
  spent._handle = null
  const options = {
    handle,
    allowHalfOpen: socket.allowHalfOpen,
    // Reading begins with `resume`.
    pauseOnCreate: true,
    onread: {
      buffer: readBuffer,
      callback: (length: number) => {
        onBytes(readBuffer.subarray(0, length))
        return true
      },
    },
  }
  const taken = new Socket(options)
  socket.destroy()
  return taken
}
