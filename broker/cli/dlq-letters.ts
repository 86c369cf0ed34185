import type { Client } from '../../client/index.js'
import { count } from './count.js'
import type { GlobalOptions } from './global-options.js'
import { LETTER_HEADING, letterAsJson, letterRow } from './letter-format.js'
import { Output, print } from './output.js'
import { Progress } from './progress.js'
import { withClient } from './session.js'
import { columns } from './table.js'
import { topicAs } from './topic-face.js'

/** Whose dead letters. */
export interface LettersOf {
  readonly topic: string
  readonly group: string
}

export interface DlqOptions extends GlobalOptions {
  readonly max?: number
  readonly json?: boolean
}

/** Rows that are aligned with each other: enough for a screen, and a first line soon. */
const rowsPerTable = 200

/** `millrace dlq list`. */
export async function listLetters({ topic, group }: LettersOf, options: DlqOptions): Promise<void> {
  const output = new Output()
  await withClient(options, async (client) => {
    const info = await client.describeTopic(topic)
    let left = options.max ?? Number.POSITIVE_INFINITY
    let isEmpty = true
    let rows = [LETTER_HEADING]
    for await (const letter of client.deadLetters.list(await topicAs(info), group)) {
      isEmpty = false
      if (options.json) {
        await output.write(`${letterAsJson(letter, info)}\n`)
      } else if (rows.push(letterRow(letter, info)) > rowsPerTable) {
        await output.write(columns(rows))
        rows = []
      }
      if (--left === 0) break
    }
    if (isEmpty) await refuseUnknownGroup(client, group)
    else await output.write(columns(options.json ? [] : rows))
  })
  await output.flush()
}

/** Replayed by one request, so that there is something to say in between. */
const replayedPerCall = 1000

/** `millrace dlq replay`. */
export async function replayLetters({ topic, group }: LettersOf, options: DlqOptions): Promise<void> {
  await withClient(options, async (client) => {
    let replayed = 0
    // What fails again comes back as a dead letter: only what is there now is replayed, else this might never end.
    let left = options.max ?? Number.POSITIVE_INFINITY
    const progress = new Progress(() => `replayed ${replayed} of ${replayed + left} dead letters`)
    while (left > 0) {
      const answer = await client.deadLetters.replay(topic, group, { max: Math.min(replayedPerCall, left) })
      left = Math.min(left, answer.replayed + answer.left) - answer.replayed
      replayed += answer.replayed
      if (answer.replayed === 0) break
      progress.update()
    }
    progress.clear()
    await print(`replayed ${count(replayed, 'dead letter')}\n`)
  })
}

/** No dead letters may mean that the name is wrong. Throws UNKNOWN_GROUP. */
async function refuseUnknownGroup(client: Client, group: string): Promise<void> {
  await client.groups.describe(group)
}
