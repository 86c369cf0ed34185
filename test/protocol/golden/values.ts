/** Numbers and bytes that several golden samples share. */
import { crc32 } from '#crc32'

export const TOPIC = '0123456789abcdef0123456789abcdef'
export const REQUEST = 'f0e1d2c3b4a5968778695a4b3c2d1e0f'
export const CLUSTER = '00000000000000000000000000000001'
export const MAX = Number.MAX_SAFE_INTEGER
export const UINT32_MAX = 0xffffffff
export const NOW = 1_760_000_000_000

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))
export const utf8 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text))

/** The payload `[[0, 0, nil, "hi", nil]]`. */
export const HI = hex('91950000c0a26869c0')
export const HI_CRC = crc32(HI)

/** Of WELCOME. */
export const limits = {
  frameBytesMax: 8 << 20,
  recordBytesMax: 1 << 20,
  batchBytesMax: 4 << 20,
  inFlightBytesMax: 16 << 20,
  producerWindowBatches: 16,
}

/** The fields of a PRODUCE that do not speak of its producer. */
export const batch = {
  correlationId: 9,
  topicId: TOPIC,
  partition: 3,
  attributes: 0,
  baseTimestamp: NOW,
  recordCount: 1,
  inflatedBytes: HI.length,
  payloadCrc: HI_CRC,
  payload: HI,
}
