import { createContext, runInContext } from 'node:vm'
import { transform } from 'esbuild'
import { WebSocket } from 'ws'
import { bundleScenario, type Flavour } from '../../load/k6/bundle.js'

/** Changes what a socket receives: the frames that take the place of one. */
export type Tamper = (frame: Uint8Array) => readonly Uint8Array[]

interface Script {
  readonly options: {
    readonly scenarios: Readonly<
      Record<string, { executor: string; vus: number; exec: string; duration?: string }>
    >
    readonly thresholds: Readonly<Record<string, readonly string[]>>
  }
  readonly [exec: string]: unknown
}

/** What a run left behind. */
export interface FakeRun {
  /** Metric name to its samples. */
  readonly samples: ReadonlyMap<string, readonly number[]>
  /** What the script wrote to console.error. */
  readonly complaints: readonly string[]
  /** Each as `metric: threshold`; with any, k6 ends with 99. */
  readonly failedThresholds: readonly string[]
}

/**
 * Runs a bundled scenario as k6 would: a realm for each VU that has the language, `__ENV`, `__VU`, `console` and k6's
 * modules, and nothing else; an iteration is over when no timer and no socket of it is left. The sockets are real.
 */
export async function runInFakeK6(options: {
  scenario: string
  flavour: Flavour
  environment: Readonly<Record<string, string>>
  tamper?: Tamper
}): Promise<FakeRun> {
  const bundle = await bundleScenario(options.scenario, options.flavour)
  const { code } = await transform(bundle, { format: 'cjs' })
  const run = new Recording()
  const vuOf = (number: number): Vu => new Vu({ ...options, code, number, run })
  const { scenarios, thresholds } = vuOf(0).script.options
  let number = 0
  const iterations: Promise<void>[] = []
  for (const { executor, vus, exec, duration } of Object.values(scenarios)) {
    const endsAt = executor === 'constant-vus' ? Date.now() + Number.parseInt(duration ?? '', 10) : 0
    for (let i = 0; i < vus; i++) iterations.push(vuOf(++number).run(exec, endsAt))
  }
  await Promise.all(iterations)
  return { ...run, failedThresholds: run.failed(thresholds) }
}

class Recording {
  readonly samples = new Map<string, number[]>()
  readonly complaints: string[] = []

  add(metric: string, value: number): void {
    if (!Number.isFinite(value)) throw new Error(`${metric}: ${value}`)
    this.samples.set(metric, [...(this.samples.get(metric) ?? []), value])
  }

  failed(thresholds: Script['options']['thresholds']): string[] {
    return Object.entries(thresholds).flatMap(([metric, all]) => {
      const values = this.samples.get(metric)
      // As k6 does: a metric without samples is not looked at.
      if (values === undefined) return []
      return all
        .filter((threshold) => !holds(threshold, values))
        .map((threshold) => `${metric}: ${threshold}`)
    })
  }
}

function holds(threshold: string, values: readonly number[]): boolean {
  const [, left, operator, right] = /^(count|p\(99\))(==|>|<=)(\d+)$/.exec(threshold) ?? []
  const sorted = [...values].sort((a, b) => a - b)
  const value =
    left === 'count'
      ? values.reduce((sum, each) => sum + each, 0)
      : sorted[Math.ceil(0.99 * sorted.length) - 1]
  if (value === undefined || left === undefined) throw new Error(`threshold "${threshold}" is not known here`)
  if (operator === '==') return value === Number(right)
  return operator === '>' ? value > Number(right) : value <= Number(right)
}

interface VuOptions {
  readonly code: string
  readonly number: number
  readonly flavour: Flavour
  readonly environment: Readonly<Record<string, string>>
  readonly run: Recording
  readonly tamper?: Tamper
}

class Vu {
  readonly script: Script
  readonly #options: VuOptions
  /** Timers and sockets that keep the iteration alive. */
  #alive = 0
  #idle: () => void = () => {}

  constructor(options: VuOptions) {
    this.#options = options
    const complain = (text: string): void => void options.run.complaints.push(text)
    const context = createContext({
      __ENV: options.environment,
      __VU: options.number,
      console: { log: complain, error: complain },
    })
    if (options.flavour.modules['k6/websockets'] !== undefined) runInContext(FORGET_RECENT, context)
    const module = { exports: {} as Script }
    const wrapper = runInContext(`(function (require, module, exports) {${options.code}\n})`, context) as (
      ...names: unknown[]
    ) => void
    wrapper((name: string) => this.#module(name), module, module.exports)
    this.script = module.exports
  }

  /** Once, or again and again until `endsAt`. */
  async run(exec: string, endsAt: number): Promise<void> {
    do {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
        this.#hold(1)
        ;(this.script[exec] as () => void)()
        this.#hold(-1)
      })
    } while (Date.now() < endsAt)
  }

  #hold(change: 1 | -1): void {
    this.#alive += change
    if (this.#alive === 0) this.#idle()
  }

  #module(name: string): unknown {
    const { modules } = this.#options.flavour
    const websockets = modules['k6/websockets'] ?? 'k6/websockets'
    const timers = modules['k6/timers'] ?? 'k6/timers'
    if (name === 'k6/metrics') return this.#metrics()
    if (name === timers) return this.#timers()
    if (name === websockets) return { WebSocket: this.#webSocket(name !== 'k6/websockets') }
    throw new Error(`this k6 has no module "${name}"`)
  }

  #metrics(): unknown {
    const { run, number } = this.#options
    class Metric {
      readonly #name: string
      constructor(name: string) {
        this.#name = name
      }
      add(value: number): void {
        if (number === 0) throw new Error('metrics take no samples while k6 loads the script')
        run.add(this.#name, value)
      }
    }
    return { Counter: Metric, Trend: Metric }
  }

  #timers(): unknown {
    const live = new Set<NodeJS.Timeout>()
    const begin = (timer: NodeJS.Timeout): NodeJS.Timeout => {
      live.add(timer)
      this.#hold(1)
      return timer
    }
    const end = (timer: NodeJS.Timeout): void => {
      clearTimeout(timer)
      if (live.delete(timer)) this.#hold(-1)
    }
    return {
      setTimeout(task: () => void, ms: number) {
        const timer: NodeJS.Timeout = setTimeout(() => {
          task()
          end(timer)
        }, ms)
        return begin(timer)
      },
      setInterval: (task: () => void, ms: number) => begin(setInterval(task, ms)),
      clearTimeout: end,
      clearInterval: end,
    }
  }

  #webSocket(isExperimental: boolean): unknown {
    const { tamper = (frame) => [frame] } = this.#options
    const hold = (change: 1 | -1): void => this.#hold(change)
    return class {
      readonly #socket: WebSocket
      #isBinaryTypeSet = false

      constructor(url: string, protocols: null, params: { headers: Record<string, string> }) {
        if (protocols !== null) throw new Error('older k6 passes over the protocols')
        // k6 takes any subprotocol in the answer; ws only one that it asked for itself.
        this.#socket = new WebSocket(url, params.headers['Sec-WebSocket-Protocol'] ?? [])
        hold(1)
        this.#socket.once('close', () => hold(-1))
      }

      set binaryType(type: string) {
        if (isExperimental) throw new Error('binaryType is not settable in k6')
        this.#isBinaryTypeSet = type === 'arraybuffer'
      }

      addEventListener(type: string, listener: (event: object) => void): void {
        if (type !== 'message') {
          this.#socket.on(type, (error) => listener(type === 'error' ? { error: String(error) } : {}))
          return
        }
        this.#socket.on('message', (message: Buffer) => {
          if (!isExperimental && !this.#isBinaryTypeSet) throw new Error('a Blob came')
          for (const frame of tamper(message)) listener({ data: new Uint8Array(frame).buffer })
        })
      }

      send(data: unknown): void {
        const tag = Object.prototype.toString.call(data)
        if (tag !== '[object ArrayBuffer]') throw new Error(`unsupported send type ${tag}`)
        // Not copied: k6 sends later, from the script's own memory.
        this.#socket.send(Buffer.from(data as ArrayBuffer))
      }

      close(): void {
        this.#socket.close(1000)
      }
    }
  }
}

const FORGET_RECENT = `delete Object.hasOwn; delete Object.fromEntries; delete Array.prototype.at`
