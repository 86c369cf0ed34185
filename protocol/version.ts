/** The protocol version that HELLO negotiates; one number for frames, batches and stored entries. */
export const PROTOCOL_VERSION = 1

/** The WebSocket subprotocol, asked for by the client and confirmed by the broker. */
export const SUBPROTOCOL = 'millrace.v1'

/** The path of the WebSocket endpoint. */
export const WEBSOCKET_PATH = '/ws'
