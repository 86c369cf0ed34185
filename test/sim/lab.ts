import type { HistoryRecorder } from '../checker/recorder.js'
import type { SeededRandom } from '../support/seeded-random.js'
import type { ClientProcess } from './client-process.js'
import type { HttpLink } from './http-link.js'
import type { Plan } from './plan.js'
import type { Scheduler } from './scheduler.js'

/** What a workload works with. */
export interface Lab {
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly plan: Plan
  readonly history: HistoryRecorder
  /** No new work: what is under way is finished, then the run ends. */
  readonly isEnding: boolean
  /** Whoever loses its connection hears of it soon: nobody is stopped or cut off silently. */
  readonly isOpenlyBroken: boolean
  /** Has the broker serve HTTP; returns how a process speaks it. Absent where nobody does. */
  readonly serveHttp?: () => (process: ClientProcess) => HttpLink
  /** A new process with a client of its own. */
  newProcess(name: string, options?: { isMortal?: boolean }): ClientProcess
}
