import type { RequestRow } from '../manifest/rows.js'

/** Of all answers of mutations together, so that those that name thousands of cursors are fewer; part of the state's definition, so a constant. */
export const REQUESTS_BYTES_MAX = 16 * 1024 * 1024

const OVERHEAD_BYTES = 200
const LIST_BYTES = 48
const VALUE_BYTES = 8

/** Memory of an answer, about: counted the same way whether it was just given, replayed or loaded. */
export const requestBytes = ({ result }: RequestRow): number => OVERHEAD_BYTES + bytesIn(result)

function bytesIn(value: unknown): number {
  if (typeof value === 'string') return VALUE_BYTES + value.length
  if (typeof value !== 'object' || value === null) return VALUE_BYTES
  if (value instanceof Uint8Array) return LIST_BYTES + value.length
  let bytes = LIST_BYTES
  for (const each of Object.values(value)) bytes += bytesIn(each)
  return bytes
}
