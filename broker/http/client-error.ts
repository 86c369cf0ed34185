import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { ERROR_CODES, type ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import { errorAnswer } from './error-reply.js'

/** What Node's parser says, as the catalogue does; anything else is BAD_REQUEST. */
const PARSER_CODES: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'BODY_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
}

/** Answers bytes that are no HTTP request, or none that came in time, and closes: there is no request to answer through. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket, requestId: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const code = PARSER_CODES[error.code ?? ''] ?? 'BAD_REQUEST'
  const { httpStatus } = ERROR_CODES[code]
  const message = code === 'BAD_REQUEST' ? `not an HTTP request: ${error.message}` : undefined
  const body = JSON.stringify(
    errorAnswer(new MillraceError(code, message === undefined ? {} : { message }), requestId),
  )
  socket.end(
    [
      `HTTP/1.1 ${httpStatus} ${STATUS_CODES[httpStatus]}`,
      'Connection: close',
      'Content-Type: application/json',
      'Cache-Control: no-store',
      `X-Request-Id: ${requestId}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  )
  socket.once('finish', () => socket.destroy())
}
