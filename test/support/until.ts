import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'

/**
 * Looks again and again, with `everyMs: 0` in each turn of the loop. Unlike `expect.poll` it may be used by tests that run at the
 * same time.
 */
export async function until(
  holds: () => boolean | Promise<boolean>,
  { timeoutMs = 60_000, everyMs = 20 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<void> {
  const startedMs = performance.now()
  while (!(await holds())) {
    if (performance.now() - startedMs > timeoutMs) throw new Error(`it never came true: ${holds}`)
    await (everyMs === 0 ? turn() : sleep(everyMs))
  }
}
