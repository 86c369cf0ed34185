import type { ChildScript, ScriptProcess } from './child-script.js'

/** What a member is, and what it does with what it gets. */
export interface MemberSettings {
  readonly kind: 'copy' | 'acknowledge' | 'hold' | 'work'
  readonly url: string
  readonly topic: string
  readonly group: string
  readonly sessionTimeoutMs: number
  /** `copy`: where to, and how. */
  readonly out?: string
  readonly style?: 'loop' | 'batches' | 'run'
  /** `work`. */
  readonly leaseMs?: number
  readonly maxDeliveries?: number
  readonly prefetch?: number
  /** Kills its process as soon as it is given the job at this offset, before the event loop has its turn again. */
  readonly poison?: number
  readonly seed?: number
  /** Ends when its loop ends; else it begins again. */
  readonly once?: boolean
}

/** Said before the member goes on: what it did until it is killed is all here. */
export interface MemberEvent {
  readonly type: 'began' | 'given' | 'acking' | 'acked' | 'refused' | 'wrote' | 'ended'
  readonly partition?: number
  readonly offset?: number
  /** Deliveries of a job, this one included. */
  readonly count?: number
  readonly code?: string
}

/** The script that MemberProcess runs. Compile it with `ChildScript.compile(MEMBER_SCRIPT)`. */
export const MEMBER_SCRIPT = new URL('./member-script.ts', import.meta.url)

/** A member of a group in a process of its own, which can be stopped, resumed and killed. */
export class MemberProcess {
  readonly events: MemberEvent[] = []
  readonly #script: ScriptProcess
  readonly #waiting = new Set<() => void>()
  readonly #said: Promise<void>
  #isOver = false

  constructor(script: ChildScript, settings: MemberSettings) {
    this.#script = script.start({ MEMBER: JSON.stringify(settings) })
    this.#said = this.#listen()
  }

  async #listen(): Promise<void> {
    for (let line = await this.#script.line(); line !== undefined; line = await this.#script.line()) {
      this.events.push(JSON.parse(line) as MemberEvent)
      for (const wake of this.#waiting) wake()
    }
    this.#isOver = true
    for (const wake of this.#waiting) wake()
  }

  /** The first event of this type after the first `after` events. Throws when the process ends without it. */
  async next(type: MemberEvent['type'], after = 0): Promise<MemberEvent> {
    for (;;) {
      const event = this.events.slice(after).find((one) => one.type === type)
      if (event !== undefined) return event
      if (this.#isOver) throw new Error(`the member ended without "${type}": ${JSON.stringify(this.events)}`)
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake)
          resolve()
        }
        this.#waiting.add(wake)
      })
    }
  }

  tell(command: string): void {
    this.#script.send(command)
  }

  /** SIGSTOP: from now on it does nothing, and does not know it. */
  stop(): void {
    process.kill(this.#script.pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.#script.pid, 'SIGCONT')
  }

  /** Resolves when it is gone by itself, and all that it said is in `events`. */
  get gone(): Promise<void> {
    return this.#said
  }

  /** SIGKILL; resolves when it is gone and all that it said is in `events`. */
  async kill(): Promise<void> {
    await this.#script.kill()
    await this.#said
  }
}
