import type { ChildProcess } from 'node:child_process'

/** Process groups that must not outlive this process. */
const running = new Set<ChildProcess>()
let isWatching = false

/** Kills the child and what it started when this process ends, by itself or by a signal. It must lead its own group. */
export function endWithUs(child: ChildProcess): void {
  running.add(child)
  child.once('exit', () => running.delete(child))
  if (isWatching) return
  isWatching = true
  process.on('exit', killAll)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      killAll()
      // The signal still does what it did without us; whoever else listens has heard it already.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
    })
  }
}

/** Sends a signal to the child and to what it started. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // The group is gone, which is what was wanted.
  }
}

function killAll(): void {
  for (const child of running) signalGroup(child, 'SIGKILL')
}
