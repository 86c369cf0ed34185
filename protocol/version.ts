/** The protocol version that HELLO negotiates; one number for frames, batches and stored entries. */
export const PROTOCOL_VERSION = 1

/** The WebSocket subprotocol, asked for by the client and confirmed by the broker. */
export const SUBPROTOCOL = 'millrace.v1'

/** The path of the WebSocket endpoint. */
export const WEBSOCKET_PATH = '/ws'

/** Optional behaviour, named by the client in HELLO and confirmed by the broker in WELCOME. */
export const FEATURES = {
  /** Frames 40 to 75 and the topic options: groups, queues, dedup ids, atomic writes, deletion. */
  groups: 'groups',
} as const
