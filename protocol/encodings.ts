/**
 * How a topic's keys and values are written; durable with the topic. The numbers are on disk: never renumbered.
 * `text` and `json` travel as MessagePack str, `bytes` and `msgpack` as bin; nil is "none" in each.
 */
export const ENCODINGS = { bytes: 0, text: 1, json: 2, msgpack: 3 } as const
export type Encoding = keyof typeof ENCODINGS

const NAMES = Object.keys(ENCODINGS) as Encoding[]

export const isEncoding = (name: string): name is Encoding => Object.hasOwn(ENCODINGS, name)
export const encodingName = (number: number): Encoding | undefined =>
  NAMES.find((name) => ENCODINGS[name] === number)
/** Whether keys and values of this encoding are MessagePack str (else bin). */
export const isTextual = (encoding: Encoding): boolean => encoding === 'text' || encoding === 'json'
