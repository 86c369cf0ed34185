import type { RequestId } from '../../protocol/ids.js'
import type { RequestRow } from '../manifest/rows.js'
import { REQUESTS_BYTES_MAX, requestBytes } from './request-bytes.js'
import { REQUESTS_KEPT, type ShardState } from './state.js'

/** The answer stands in the state with its cause, so that a retry of the request gets it again. */
export function answerRequest(
  state: ShardState,
  requestId: RequestId | null,
  given: { time: number; result: unknown },
): void {
  if (requestId === null) return
  const row = { requestId, order: state.requestOrder++, time: given.time, result: carried(given.result) }
  // The id was used for a request of another kind before: that row goes first, or its age and its deletion would be lost.
  const namesake = state.requests.get(requestId)
  if (namesake !== undefined) {
    forget(state, namesake)
    state.overlay.requests.delete(namesake)
    state.overlay.deletedRequests.push(requestId)
  }
  state.keepRequest(row)
  state.overlay.requests.add(row)
  for (const oldest of state.requests.values()) {
    const isTooMuch = state.requests.size > REQUESTS_KEPT || state.requestBytes > REQUESTS_BYTES_MAX
    if (!isTooMuch || oldest === row) return
    forget(state, oldest)
    if (!state.overlay.requests.delete(oldest)) state.overlay.deletedRequests.push(oldest.requestId)
  }
}

function forget(state: ShardState, row: RequestRow): void {
  state.requests.delete(row.requestId)
  state.requestBytes -= requestBytes(row)
}

/** What MessagePack carries of a plain value: a field that is undefined would come back from the manifest as null. */
function carried(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(carried)
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(fields.map(([name, field]) => [name, carried(field)]))
}
