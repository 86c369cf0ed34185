import { readFile } from 'node:fs/promises'

export interface ProcessMemory {
  /** The process's own: what neither a file nor another process holds. */
  readonly anonymousBytes: number
  /** All of it that is in memory, mapped files and shared libraries included. */
  readonly rssBytes: number
}

export function parseRollup(rollup: string): ProcessMemory {
  const bytesOf = (field: string): number => {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(rollup)?.[1]
    if (kilobytes === undefined) throw new Error(`smaps_rollup has no ${field}`)
    return Number(kilobytes) * 1024
  }
  return { anonymousBytes: bytesOf('Anonymous'), rssBytes: bytesOf('Rss') }
}

/** Of a process, from Linux's smaps_rollup. */
export async function memoryOf(pid: number): Promise<ProcessMemory> {
  return parseRollup(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))
}

/** Looks every 200 ms, until `stop` tells the highest of each. */
export function watchMemory(pid: number): { stop(): Promise<ProcessMemory> } {
  let anonymousBytes = 0
  let rssBytes = 0
  const look = async (): Promise<void> => {
    const now = await memoryOf(pid)
    anonymousBytes = Math.max(anonymousBytes, now.anonymousBytes)
    rssBytes = Math.max(rssBytes, now.rssBytes)
  }
  const timer = setInterval(() => void look().catch(() => {}), 200)
  return {
    async stop() {
      clearInterval(timer)
      await look()
      return { anonymousBytes, rssBytes }
    },
  }
}

/** The jiffy of /proc, which Linux has fixed at 100 a second for programs. */
const JIFFY_MS = 10

/** Time on a processor so far, in the program and in the kernel for it. */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name, in brackets, may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * JIFFY_MS
}
