import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from './source-files.js'

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
}

/** Files and commands of this repository that a page names and that are not there. */
function unfounded(page: string): string[] {
  const paths = [...page.matchAll(/`((?:broker|client|examples|protocol|test|testing)\/[\w./-]+)`/g)]
  const commands = [...page.matchAll(/`[^`]*npm run ([\w:-]+)[^`]*`/g)]
  const links = [...page.matchAll(/\]\(([\w./-]+)\)/g)]
  return [
    ...paths.map(([, path]) => path as string).filter((path) => !existsSync(join(root, path))),
    ...commands.map(([, name]) => name as string).filter((name) => !Object.hasOwn(scripts, name)),
    ...links.map(([, link]) => link as string).filter((link) => !existsSync(join(root, 'docs', link))),
  ]
}

describe('the evidence for what is promised', () => {
  it.each(['docs/RELIABILITY.md', 'docs/TRACK-RECORD.md'])('that %s names is in this repository', (path) => {
    const page = readFileSync(join(root, path), 'utf8')
    expect(page).toContain('`test/')
    expect(unfounded(page)).toEqual([])
  })

  it('is a test for each row of the track record', () => {
    const page = readFileSync(join(root, 'docs/TRACK-RECORD.md'), 'utf8')
    const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| what'))
    expect(rows.length).toBeGreaterThan(10)
    // Files of one folder are named once with it.
    expect(rows.filter((row) => !/`test\/[\w./-]+\.test\.ts`[^|]*\|$/.test(row))).toEqual([])
  })
})

describe('the check of the evidence', () => {
  it('sees a file, a command and a page that are not there', () => {
    const page =
      '`test/gone.test.ts`, `npm run gone`, [gone](GONE.md), `test/tidy/evidence.test.ts`, `npm run test`'
    expect(unfounded(page)).toEqual(['test/gone.test.ts', 'gone', 'GONE.md'])
  })
})
