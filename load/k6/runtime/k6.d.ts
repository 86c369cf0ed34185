/** What is used of k6's own modules; the bundler leaves their imports to k6. */
declare module 'k6/websockets' {
  interface MessageEvent {
    /** An ArrayBuffer where the message was binary. */
    readonly data: unknown
  }
  interface ErrorEvent {
    readonly error?: unknown
  }
  export class WebSocket {
    constructor(url: string, protocols: null, params: { headers: Readonly<Record<string, string>> })
    binaryType: string
    send(data: ArrayBuffer): void
    close(): void
    addEventListener(type: 'open' | 'close', listener: () => void): void
    addEventListener(type: 'message', listener: (event: MessageEvent) => void): void
    addEventListener(type: 'error', listener: (event: ErrorEvent) => void): void
  }
}

declare module 'k6/timers' {
  export function setTimeout(task: () => void, ms: number): number
  export function clearTimeout(timer: number): void
  export function setInterval(task: () => void, ms: number): number
  export function clearInterval(timer: number): void
}

declare module 'k6/metrics' {
  interface Metric {
    add(value: number, tags?: Readonly<Record<string, string>>): void
  }
  export const Counter: new (name: string) => Metric
  /** `isTime`: values are milliseconds. */
  export const Trend: new (name: string, isTime: boolean) => Metric
}

/** The number of the VU that runs this; 0 while k6 loads the script. */
declare const __VU: number
declare const __ENV: Readonly<Record<string, string | undefined>>
