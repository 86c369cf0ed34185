import { MillraceError } from '../protocol/error-codes.js'
import { WEBSOCKET_PATH } from '../protocol/version.js'

/** `ws://host:4600` as the address of the WebSocket endpoint; a path, if there is one, is kept. Throws ILLEGAL_ARGUMENT. */
export function socketUrl(url: string | URL): string {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    throw illegal(`"${url}" is no URL; a broker's looks like ws://127.0.0.1:4600`)
  }
  if (parsed.protocol === 'http:') parsed.protocol = 'ws:'
  if (parsed.protocol === 'https:') parsed.protocol = 'wss:'
  if (parsed.protocol !== 'ws:' && parsed.protocol !== 'wss:') {
    throw illegal(`"${url}": a broker's URL begins with ws:// or wss://`)
  }
  if (parsed.hash !== '') throw illegal(`"${url}": a WebSocket URL has no #fragment`)
  if (parsed.pathname === '/' || parsed.pathname === '') parsed.pathname = WEBSOCKET_PATH
  return parsed.href
}

const illegal = (message: string): MillraceError => new MillraceError('ILLEGAL_ARGUMENT', { message })
