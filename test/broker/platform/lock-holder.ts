/** A process that takes and releases directory locks when told to by lines on stdin. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type DirectoryLock,
  DirectoryLockedError,
  lockDirectory,
} from '../../../broker/platform/directory-lock.js'

let held: DirectoryLock | undefined

async function lock(directory: string): Promise<object> {
  try {
    held = await lockDirectory(directory)
    return { locked: true }
  } catch (error) {
    const { message, code, holderPid } = error as DirectoryLockedError
    return { locked: false, message, code, holderPid }
  }
}

async function release(): Promise<object> {
  await held?.release()
  return {}
}

/** Takes the lock so many times; the witness file can be created only while nobody else holds the lock. */
async function storm(directory: string, winsMax: number): Promise<object> {
  const witness = join(directory, 'witness')
  let wins = 0
  while (wins < winsMax) {
    try {
      const mine = await lockDirectory(directory)
      writeFileSync(witness, String(process.pid), { flag: 'wx' })
      wins++
      await sleep(Math.random() * 2)
      rmSync(witness)
      await mine.release()
    } catch (error) {
      if (!(error instanceof DirectoryLockedError)) return { wins, failure: String(error) }
    }
    await sleep(Math.random())
  }
  return { wins }
}

const commands: Record<string, (directory: string, argument: string) => Promise<object>> = {
  lock,
  release,
  storm: (directory, winsMax) => storm(directory, Number(winsMax)),
}

for await (const line of createInterface(process.stdin)) {
  const [command = '', directory = '', argument = ''] = line.split(' ')
  console.log(JSON.stringify(await commands[command]?.(directory, argument)))
}
