/** WebSocket close codes (RFC 6455, 7.4.1) that the broker uses itself; `ws` adds 1002 and 1009 for broken framing. */
export const CLOSE = {
  /** The broker stops. */
  goingAway: 1001,
  /** A text message came. */
  unsupportedData: 1003,
  /** A message that is no frame. */
  invalidPayload: 1007,
  /** A first frame other than HELLO, no common version, no HELLO in time. */
  policy: 1008,
} as const
