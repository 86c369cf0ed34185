import { clearInterval, clearTimeout, setInterval, setTimeout } from 'k6/timers'
import { WebSocket } from 'k6/websockets'
import { SUBPROTOCOL, WEBSOCKET_PATH } from '../../../protocol/version.js'
import type { LoadClock } from '../clock.js'
import type { Measures } from '../measures.js'
import { Session } from '../session.js'

/**
 * k6 logs what a callback throws and goes on; no threshold would see it. So every callback that k6 calls runs in here.
 */
function guarded(measures: Measures, task: () => void, failed: () => void = () => {}): void {
  try {
    task()
  } catch (error) {
    measures.wrong('exception', String((error as Error)?.stack ?? error))
    failed()
  }
}

/** k6's timers. Its clock has whole milliseconds. */
export function k6Clock(measures: Measures): LoadClock {
  return {
    now: () => Date.now(),
    after(ms, task) {
      const timer = setTimeout(() => guarded(measures, task), ms)
      return () => clearTimeout(timer)
    },
    every(ms, task) {
      const timer = setInterval(() => guarded(measures, task), ms)
      return () => clearInterval(timer)
    },
  }
}

/** Opens a connection by k6's WebSocket; `ready` is called after WELCOME. */
export function connect(
  options: { readonly url: string; readonly measures: Measures },
  ready: (session: Session) => void,
): Session {
  const { url, measures } = options
  const startedAt = Date.now()
  // As a header, because older k6 passes over the second argument.
  const socket = new WebSocket(url + WEBSOCKET_PATH, null, {
    headers: { 'Sec-WebSocket-Protocol': SUBPROTOCOL },
  })
  try {
    socket.binaryType = 'arraybuffer'
  } catch {
    // Older k6 has nothing else, and throws when it is set.
  }
  const session = new Session({ send: (frame) => socket.send(frame), close: () => socket.close() }, measures)
  const guard = (task: () => void): void => guarded(measures, task, () => session.close())
  let reason = 'closed by the broker'
  socket.addEventListener('open', () =>
    guard(() =>
      session.start(`k6/${__VU}`, () => {
        measures.connected(Date.now() - startedAt)
        ready(session)
      }),
    ),
  )
  socket.addEventListener('message', ({ data }) =>
    guard(() => {
      if (typeof data === 'string') measures.wrong('corrupt', 'a text message came')
      else session.receive(data as ArrayBuffer)
    }),
  )
  socket.addEventListener('error', ({ error }) => {
    reason = String(error)
  })
  socket.addEventListener('close', () => guard(() => session.closed(reason)))
  return session
}
