import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { DirectoryLockedError, lockDirectory } from '../../../broker/platform/directory-lock.js'
import { DiskError } from '../../../broker/platform/disk.js'
import { ChildScript, type ScriptProcess } from '../../support/child-script.js'

interface Answer {
  readonly locked: boolean
  readonly message?: string
  readonly code?: string
  readonly holderPid?: number
}

/** How often each of many takes the lock. */
const WINS = 20

let script: ChildScript
let directory: string
let started: ScriptProcess[]

beforeAll(async () => {
  script = await ChildScript.compile(new URL('lock-holder.ts', import.meta.url))
})
afterAll(() => script.remove())

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-lock-'))
  started = []
})
afterEach(async () => {
  await Promise.all(started.map((child) => child.kill()))
  rmSync(directory, { recursive: true, force: true })
})

function start(): ScriptProcess {
  const child = script.start()
  started.push(child)
  return child
}

describe('lockDirectory', () => {
  it('refuses a second broker and says which directory, whose, and what to do', async () => {
    const holder = start()
    expect(await holder.ask<Answer>(`lock ${directory}`)).toEqual({ locked: true })

    const refused = await lockDirectory(directory).catch((error: unknown) => error)

    expect(refused).toBeInstanceOf(DirectoryLockedError)
    expect(refused).toMatchObject({ code: 'DIRECTORY_LOCKED', directory, holderPid: holder.pid })
    expect(String(refused)).toContain(`${directory} is in use by process ${holder.pid} on `)
    expect(String(refused)).toContain('or use another data directory')
  })

  it('refuses a second broker in the same process', async () => {
    const lock = await lockDirectory(directory)
    await expect(lockDirectory(directory)).rejects.toMatchObject({ holderPid: process.pid })
    await lock.release()
    await (await lockDirectory(directory)).release()
  })

  it('meets the same lock through a symlink, a symlinked parent and a relative path', async () => {
    const links = mkdtempSync(join(tmpdir(), 'millrace-links-'))
    onTestFinished(() => rmSync(links, { recursive: true }))
    const data = join(directory, 'data')
    mkdirSync(data)
    symlinkSync(data, join(links, 'data'))
    symlinkSync(directory, join(links, 'parent'))
    await start().ask(`lock ${data}`)
    for (const path of [join(links, 'data'), join(links, 'parent', 'data'), relative(process.cwd(), data)]) {
      await expect(lockDirectory(path)).rejects.toBeInstanceOf(DirectoryLockedError)
    }
  })

  it('is free again as soon as its holder was killed with SIGKILL', async () => {
    for (let round = 0; round < 5; round++) {
      const holder = start()
      expect(await holder.ask<Answer>(`lock ${directory}`)).toEqual({ locked: true })
      expect(await holder.kill()).toBe('SIGKILL')
    }
    await (await lockDirectory(directory)).release()
  })

  it('is free again after release, and releasing twice does not free the next holder', async () => {
    const first = await lockDirectory(directory)
    await first.release()
    const second = await lockDirectory(directory)
    await first.release()
    await expect(lockDirectory(directory)).rejects.toBeInstanceOf(DirectoryLockedError)
    await second.release()
  })

  it('goes to exactly one of eight processes that race for it, killed holders included', async () => {
    const racers = Array.from({ length: 8 }, start)
    for (let round = 0; round < 30; round++) {
      const answers = await Promise.all(racers.map((racer) => racer.ask<Answer>(`lock ${directory}`)))
      const winners = racers.filter((_, index) => answers[index]?.locked)
      expect(winners).toHaveLength(1)
      const winner = winners[0] as ScriptProcess
      for (const { locked, code, holderPid } of answers) {
        if (!locked) expect({ code, holderPid }).toEqual({ code: 'DIRECTORY_LOCKED', holderPid: winner.pid })
      }
      if (round % 10 < 9) await winner.ask('release')
      else {
        await winner.kill()
        racers[racers.indexOf(winner)] = start()
      }
    }
  })

  it('is never held by two while processes take and release it as fast as they can', async () => {
    const racers = Array.from({ length: 8 }, start)
    // All of them run when the storm begins.
    await Promise.all(racers.map((racer) => racer.ask('release')))
    const answers = await Promise.all(
      racers.map((racer) => racer.ask<{ wins: number; failure?: string }>(`storm ${directory} ${WINS}`)),
    )
    expect(answers).toEqual(racers.map(() => ({ wins: WINS })))
  })

  it('says which directory is missing', async () => {
    const missing = join(directory, 'none')
    await expect(lockDirectory(missing)).rejects.toMatchObject({ code: 'ENOENT', path: missing })
    await expect(lockDirectory(missing)).rejects.toBeInstanceOf(DiskError)
  })
})
