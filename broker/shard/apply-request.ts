import type { RequestId } from '../../protocol/ids.js'
import { REQUESTS_KEPT, type ShardState } from './state.js'

/** The answer stands in the state with its cause, so that a retry of the request gets it again. */
export function answerRequest(
  state: ShardState,
  requestId: RequestId | null,
  given: { time: number; result: unknown },
): void {
  if (requestId === null) return
  const row = { requestId, order: state.requestOrder++, ...given }
  // The id was used for a request of another kind before: that row goes first, or its age and its deletion would be lost.
  const namesake = state.requests.get(requestId)
  if (namesake !== undefined) {
    state.requests.delete(requestId)
    state.overlay.requests.delete(namesake)
    state.overlay.deletedRequests.push(requestId)
  }
  state.requests.set(requestId, row)
  state.overlay.requests.add(row)
  if (state.requests.size <= REQUESTS_KEPT) return
  const [oldest] = state.requests.values()
  if (oldest === undefined) return
  state.requests.delete(oldest.requestId)
  if (!state.overlay.requests.delete(oldest)) state.overlay.deletedRequests.push(oldest.requestId)
}
