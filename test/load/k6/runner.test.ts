import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runLoad } from '../../../load/k6/runner.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-load-'))
})
afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

/** Runs the command with nothing but `directory` on the PATH. */
async function load(...commandLine: string[]) {
  return await loadWith({}, ...commandLine)
}

async function loadWith(environment: Record<string, string>, ...commandLine: string[]) {
  const printed: string[] = []
  const complaints: string[] = []
  const code = await runLoad({
    arguments: commandLine,
    environment: { PATH: directory, ...environment },
    print: (text) => printed.push(text),
    complain: (text) => complaints.push(text),
  })
  return { code, printed: printed.join('\n'), complaints: complaints.join('\n') }
}

/** A k6 that writes down its arguments and the script, and ends with `code`. */
async function installK6(version: string, code = 0): Promise<void> {
  const program = `#!${process.execPath}
const { copyFileSync, writeFileSync } = require('node:fs')
if (process.argv[2] === 'version') { console.log('k6 v${version} (commit/abc, go1.24.1, linux/amd64)'); process.exit() }
writeFileSync(${JSON.stringify(join(directory, 'arguments.json'))}, JSON.stringify(process.argv.slice(2)))
copyFileSync(process.argv.at(-1), ${JSON.stringify(join(directory, 'script.js'))})
process.exit(${code})
`
  await writeFile(join(directory, 'k6'), program)
  await chmod(join(directory, 'k6'), 0o755)
}

describe('npm run load', () => {
  it('lists the scenarios when none is named', async () => {
    const { code, printed } = await load()
    expect(code).toBe(0)
    for (const name of ['produce', 'tail', 'fan-out', 'mixed', 'soak', 'connection-storm']) {
      expect(printed).toContain(`\n  ${name} `)
    }
  })

  it('explains itself and every option', async () => {
    const { code, printed } = await load('--help')
    expect(code).toBe(0)
    expect(printed).toMatch(/ {2}MILLRACE_URL +the broker \(ws:\/\/127\.0\.0\.1:4600\)/)
  })

  it('refuses a scenario that is not there, and names those that are', async () => {
    const { code, complaints } = await load('prodcue')
    expect(code).toBe(2)
    expect(complaints).toMatch(/^There is no scenario "prodcue"\.\nScenarios:\n {2}produce /)
  })

  it('refuses an option that cannot be before it starts k6', async () => {
    await installK6('1.6.0')
    const { code, complaints } = await loadWith({ MILLRACE_DURATION: 'long' }, 'tail')
    expect(code).toBe(2)
    expect(complaints).toContain('MILLRACE_DURATION: expected a duration')
    expect(await readdir(directory)).toEqual(['k6'])
  })

  it('says how to get k6 where there is none, and fails', async () => {
    const { code, complaints } = await load('produce')
    expect(code).toBe(1)
    expect(complaints).toMatch(/^There is no k6 on the PATH\. .*\n {2}macOS {5}brew install k6/)
  })

  it('fails for a k6 that is too old', async () => {
    await installK6('0.46.0')
    const { code, complaints } = await load('produce')
    expect(code).toBe(1)
    expect(complaints).toContain('It takes 0.47 or later')
  })

  it.each([
    ['1.6.0', 'k6/websockets', 'k6/timers'],
    ['1.3.0', 'k6/experimental/websockets', 'k6/timers'],
    ['0.47.0', 'k6/experimental/websockets', 'k6/experimental/timers'],
  ])('gives k6 %s a script that imports %s and %s', async (version, websockets, timers) => {
    await installK6(version)
    expect((await load('tail')).code).toBe(0)
    const script = await readFile(join(directory, 'script.js'), 'utf8')
    const imports = [...script.matchAll(/^import .* from "(.*)";$/gm)].map((match) => match[1])
    expect(imports.sort()).toEqual([websockets, timers, 'k6/metrics'].sort())
  })

  it('passes options, the rest of the line and the exit code on, and leaves no script behind', async () => {
    await installK6('1.6.0', 99)
    const environment = { MILLRACE_RATE: '5', MILLRACE_URL: 'ws://127.0.0.1:1' }
    const { code } = await loadWith(environment, 'tail', '--out', 'json=a.json')
    expect(code).toBe(99)
    const passed = JSON.parse(await readFile(join(directory, 'arguments.json'), 'utf8')) as string[]
    const script = passed.pop() ?? ''
    expect(passed).toEqual(
      'run -e MILLRACE_URL=ws://127.0.0.1:1 -e MILLRACE_RATE=5 --out json=a.json'.split(' '),
    )
    await expect(readFile(script)).rejects.toThrow('ENOENT')
  })

  it('writes the scripts of every flavour into a directory', async () => {
    const target = join(directory, 'scripts')
    await mkdir(target)
    expect((await load('--bundle', target)).code).toBe(0)
    expect((await readdir(target)).sort()).toEqual(['experimental', 'experimental-timers', 'stable'])
    expect(await readdir(join(target, 'stable'))).toContain('connection-storm.js')
    expect((await load('--bundle')).code).toBe(2)
  })
})
