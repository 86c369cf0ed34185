/**
 * The WebSocket header (RFC 6455, 5.2) of a whole binary message from a server: final, unmasked, not compressed.
 * Written here, because a message whose content lies in many buffers can then be sent without joining them and still
 * be one frame, which its receiver need not join either.
 */
const FINAL_BINARY = 0x82

/** 2, 4 or 10 bytes, by the length of the message. */
export const messageHeaderBytes = (messageBytes: number): number =>
  messageBytes < 126 ? 2 : messageBytes < 0x1_0000 ? 4 : 10

/** Writes the header at `at`. */
export function writeMessageHeader(target: Buffer, messageBytes: number, at = 0): void {
  target[at] = FINAL_BINARY
  if (messageBytes < 126) {
    target[at + 1] = messageBytes
  } else if (messageBytes < 0x1_0000) {
    target[at + 1] = 126
    target.writeUInt16BE(messageBytes, at + 2)
  } else {
    target[at + 1] = 127
    target.writeUInt16BE(0, at + 2)
    target.writeUIntBE(messageBytes, at + 4, 6)
  }
}
