import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { HistoryEvent } from './history.js'

const LINES_PER_WRITE = 1_000

/** Writes a history as NDJSON, an event a line. */
export async function writeHistory(path: string, events: readonly HistoryEvent[]): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (let i = 0; i < events.length; i += LINES_PER_WRITE) {
      const lines = events.slice(i, i + LINES_PER_WRITE).map((event) => `${JSON.stringify(event)}\n`)
      await file.write(lines.join(''))
    }
  } finally {
    await file.close()
  }
}

/** Reads what `writeHistory` wrote. */
export async function readHistory(path: string): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = []
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    if (line !== '') events.push(JSON.parse(line) as HistoryEvent)
  }
  return events
}
