import { DiskError } from './disk.js'
import type { PlantedFault } from './planted-faults.js'

/** Every place where a test may stop, break or kill the broker. The name says the position, not the effect. */
export const failpointNames = [
  'walBeforeWrite',
  /** The group is on disk and nothing else has happened: it is not applied and nobody has heard of it. */
  'walAfterWrite',
  'walBeforeRoll',
  'walAfterRollHeader',
  'chunkAfterWrite',
  'chunkBeforeDirectorySync',
  'sealBeforeCommit',
  'sealAfterCommit',
  'manifestBeforeFlush',
  'manifestAfterFlush',
  'snapshotBeforeRename',
  'trimBeforeRecycle',
  'recoverBeforeRewrite',
  'ackBeforeSend',
  /** A work queue is about to read what it will claim. */
  'queueBeforeRead',
  /** An assignment is durable, and the member has not heard of it. */
  'assignBeforeSend',
  'startMovedBeforeCommit',
] as const

export type FailpointName = (typeof failpointNames)[number]

/** What a failpoint does: it may throw, return, or return a promise that holds the caller up. */
export type FailpointAction = () => Promise<void> | void

/**
 * Failpoints as the code under test sees them. A hot path awaits nothing unless it must:
 * `const held = failpoints.hit('walBeforeWrite'); if (held) await held`.
 */
export interface Failpoints {
  /** The mistake that a test has this broker make; never one in a broker of its own process. */
  readonly planted?: PlantedFault | undefined
  hit(name: FailpointName): Promise<void> | undefined
}

/** Production's failpoints: an empty call, which the compiler inlines to nothing. */
export const noFailpoints: Failpoints = { hit: () => undefined }

interface Armed {
  readonly at: number
  readonly andAfter: boolean
  readonly action: FailpointAction
}

/** Failpoints that a test, or the environment, has armed. */
export class ArmedFailpoints implements Failpoints {
  readonly #armed = new Map<FailpointName, Armed[]>()
  readonly #hits = new Map<FailpointName, number>()

  /** Runs `action` at the `at`-th hit from now on (1 is the next), with `andAfter` at every later one too. */
  arm(name: FailpointName, action: FailpointAction, when: { at?: number; andAfter?: boolean } = {}): void {
    const armed = { at: this.hits(name) + (when.at ?? 1), andAfter: when.andAfter ?? false, action }
    this.#armed.set(name, [...(this.#armed.get(name) ?? []), armed])
  }

  /** How often the failpoint has been passed. */
  hits(name: FailpointName): number {
    return this.#hits.get(name) ?? 0
  }

  hit(name: FailpointName): Promise<void> | undefined {
    const hits = this.hits(name) + 1
    this.#hits.set(name, hits)
    const due = this.#armed.get(name)?.find(({ at, andAfter }) => hits === at || (andAfter && hits > at))
    return due?.action() ?? undefined
  }
}

/** The environment variable that arms failpoints in a broker of its own process. */
export const failpointsVariable = 'MILLRACE_FAILPOINTS'

/**
 * Reads `MILLRACE_FAILPOINTS`, a list such as `walAfterWrite=kill@5,chunkAfterWrite=eio`: at the fifth hit of the one
 * and at the first of the other. `@5+` means the fifth and every later one. Throws an Error that says what is
 * allowed when a part cannot be read.
 */
export function failpointsFromEnvironment(env: Readonly<Record<string, string | undefined>>): Failpoints {
  const text = env[failpointsVariable]?.trim()
  if (!text) return noFailpoints
  const failpoints = new ArmedFailpoints()
  for (const part of text.split(',')) {
    const [, name = '', action = '', at = '1', andAfter] =
      /^\s*(\w+)=(\w+)(?:@(\d+)(\+)?)?\s*$/.exec(part) ?? refuse(part)
    if (!isFailpointName(name)) refuse(part, `known failpoints: ${failpointNames.join(', ')}`)
    if (!isActionName(action)) refuse(part, `known actions: ${Object.keys(actions).join(', ')}`)
    if (Number(at) < 1) refuse(part, 'hits are counted from 1')
    failpoints.arm(name, () => actions[action](name), { at: Number(at), andAfter: andAfter !== undefined })
  }
  return failpoints
}

const actions = {
  kill: () => killThisProcess(),
  eio: (name: FailpointName): never => {
    throw new DiskError({ code: 'EIO', path: name, operation: 'failpoint' })
  },
  enospc: (name: FailpointName): never => {
    throw new DiskError({ code: 'ENOSPC', path: name, operation: 'failpoint' })
  },
}

function killThisProcess(): void {
  process.kill(process.pid, 'SIGKILL')
  // The signal may take a moment to arrive, in which not one more statement may run.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

function isFailpointName(name: string): name is FailpointName {
  return (failpointNames as readonly string[]).includes(name)
}

function isActionName(action: string): action is keyof typeof actions {
  return Object.hasOwn(actions, action)
}

function refuse(part: string, why = 'expected name=action or name=action@hit'): never {
  throw new Error(`${failpointsVariable}: cannot read "${part.trim()}" (${why})`)
}
