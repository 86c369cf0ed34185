/** A key or value as it travels: text for the encodings `text` and `json`, bytes for `bytes` and `msgpack`, null for none. */
export type Wire = string | Uint8Array | null

export type WireHeaders = Record<string, string | Uint8Array>

export interface WireRecord {
  /** Added to the entry's base offset. */
  offsetDelta: number
  /** Milliseconds, added to the entry's base timestamp; may be negative. */
  timestampDelta: number
  key: Wire
  value: Wire
  headers: WireHeaders | null
}
