import { connect } from 'node:net'

const BUFFER_BYTES = 256 * 1024

/**
 * Downloads a path over a bare connection of its own and drops what comes, in memory that is used again: so the server is what is
 * measured. Resolves with the bytes of the body, those of chunked framing included.
 */
export function download({ port, path }: { port: number; path: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    let head = ''
    let bodyBytes = 0
    const take = (bytes: number, buffer: Uint8Array): void => {
      if (head.endsWith('\r\n\r\n')) {
        bodyBytes += bytes
        return
      }
      head += Buffer.from(buffer.buffer, buffer.byteOffset, bytes).toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      bodyBytes += head.length - end - 4
      head = head.slice(0, end + 4)
    }
    const socket = connect({
      port,
      host: '127.0.0.1',
      onread: {
        buffer: Buffer.allocUnsafe(BUFFER_BYTES),
        callback(bytes, buffer) {
          take(bytes, buffer)
          return true
        },
      },
    })
    socket.on('error', reject)
    socket.on('close', () => {
      if (head.startsWith('HTTP/1.1 200')) resolve(bodyBytes)
      else reject(new Error(`the answer was ${head.split('\r\n', 1)[0] || 'none'}`))
    })
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n`,
    )
  })
}
