import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSources, root } from './source-files.js'

const SOURCE_FOLDERS = ['protocol', 'client', 'broker', 'testing', 'load', 'scripts', 'examples']
/** Where packages are installed: Millrace's own, and the clients of the brokers it is compared with. */
const PACKAGE_FOLDERS = ['.', 'load/peers']
const SOURCE_LINES_MAX = 400
/** Source files that are long for a reason; the reason stands beside the path. */
const LONG_FILES: readonly string[] = []

/** Golden files are data by intent; nothing else that a build or a broker writes belongs in the repository. */
const WRITTEN_BY_MACHINES = /(^|\/)(node_modules|dist|coverage|millrace-data)\/|\.(log|mdb|wal|tgz)$/

function isStray(path: string): boolean {
  return WRITTEN_BY_MACHINES.test(path) && !path.startsWith('test/golden/')
}

/** Files in git and new files that no ignore rule covers; undefined where this is not a git checkout. */
function repositoryFiles(): string[] | undefined {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  try {
    // safe.directory: a checkout mounted into a container often belongs to another user.
    const output = execFileSync('git', ['-c', `safe.directory=${root}`, ...list], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return output.split('\0').filter((path) => path !== '')
  } catch {
    return undefined
  }
}

function lineCount(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
}

function tooLong(path: string, text: string): string | undefined {
  const lines = lineCount(text)
  if (lines <= SOURCE_LINES_MAX || LONG_FILES.includes(path)) return undefined
  return `${path} has ${lines} lines; past ${SOURCE_LINES_MAX} a second noun hides in it`
}

/** Keys named `resolved`, at any depth, and the lines that carry a package archive's address. */
function registryTraces(lockfile: string): string[] {
  return lockfile.split('\n').filter((line) => /"resolved"|:\/\/registry\.|\.tgz"/.test(line))
}

interface Lockfile {
  readonly packages: Readonly<
    Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>
  >
}

/** Builds for other platforms that the lockfile leaves out: with any missing, `npm ci` refuses the lockfile. */
function missingPlatformPackages({ packages }: Lockfile): string[] {
  const missing: string[] = []
  for (const [path, { optionalDependencies }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies ?? {})) {
      const places = [`node_modules/${name}`, `${path}/node_modules/${name}`]
      if (!places.some((place) => place in packages)) missing.push(`${path}: ${name}`)
    }
  }
  return missing
}

/** The dependencies that do not have exactly one line, and the lines that no dependency stands behind. */
function documentationGaps(dependencies: readonly string[], page: string): string[] {
  const documented = [...page.matchAll(/^- `([^`]+)`/gm)].map((match) => match[1] ?? '')
  const gaps: string[] = []
  for (const name of dependencies) {
    const lines = documented.filter((other) => other === name).length
    if (lines !== 1) gaps.push(`${name} has ${lines} lines in docs/DEPENDENCIES.md`)
  }
  for (const name of documented) {
    if (!dependencies.includes(name)) gaps.push(`${name} is documented but not a dependency`)
  }
  return gaps
}

describe('the repository', () => {
  const files = repositoryFiles()

  it.skipIf(files === undefined)('holds nothing that a build or a broker wrote', () => {
    expect(files).toContain('package.json')
    expect(files?.filter(isStray)).toEqual([])
  })

  it.each(PACKAGE_FOLDERS)('names no package registry in the lockfile of %s', (folder) => {
    expect(registryTraces(readFileSync(join(root, folder, 'package-lock.json'), 'utf8'))).toEqual([])
  })

  it.each(PACKAGE_FOLDERS)('locks the optional packages of every platform in %s', (folder) => {
    const lockfile = JSON.parse(readFileSync(join(root, folder, 'package-lock.json'), 'utf8')) as Lockfile
    expect(missingPlatformPackages(lockfile)).toEqual([])
  })

  it('explains every dependency in one line', () => {
    const names = PACKAGE_FOLDERS.flatMap((folder) => {
      const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Record<
        string,
        object
      >
      return Object.keys({
        ...manifest.dependencies,
        ...manifest.optionalDependencies,
        ...manifest.devDependencies,
      })
    })
    expect(names.length).toBeGreaterThan(0)
    expect(documentationGaps(names, readFileSync(join(root, 'docs/DEPENDENCIES.md'), 'utf8'))).toEqual([])
  })

  it(`keeps every source file within ${SOURCE_LINES_MAX} lines`, () => {
    const sources = [...readSources(SOURCE_FOLDERS)]
    expect(sources).not.toEqual([])
    const long = sources.map(([path, text]) => tooLong(path, text)).filter((line) => line !== undefined)
    expect(long).toEqual([])
  })
})

describe('the repository checks', () => {
  it('see a build output, a data directory and a log, but let golden files be', () => {
    const paths = ['dist/a.js', 'load/dist/a.js', 'millrace-data/LOCK', 'a/b.log', 'data.mdb']
    expect(paths.filter(isStray)).toEqual(paths)
    expect(['broker/wal/distance.ts', 'test/golden/v1/000.wal'].filter(isStray)).toEqual([])
  })

  it('see a resolved host in a lockfile', () => {
    const lockfile = JSON.stringify({ resolved: 'https://registry.example/ws.tgz' }, null, 2)
    expect(registryTraces(lockfile)).toHaveLength(1)
  })

  it('see a platform missing from a lockfile', () => {
    const packages = {
      'node_modules/a': { optionalDependencies: { 'a-linux': '1', 'a-darwin': '1' } },
      'node_modules/a-linux': {},
    }
    expect(missingPlatformPackages({ packages })).toEqual(['node_modules/a: a-darwin'])
  })

  it('see a dependency with no line, with two, and a line with no dependency', () => {
    expect(
      documentationGaps(['ws', 'pino', 'lmdb'], '- `ws`: a\n- `pino`: b\n- `pino`: c\n- `koa`: d\n'),
    ).toEqual([
      'pino has 2 lines in docs/DEPENDENCIES.md',
      'lmdb has 0 lines in docs/DEPENDENCIES.md',
      'koa is documented but not a dependency',
    ])
  })

  it('see the line past the limit and not the one before', () => {
    const lines = 'x\n'.repeat(SOURCE_LINES_MAX)
    expect(tooLong('broker/a.ts', lines)).toBeUndefined()
    expect(tooLong('broker/a.ts', `${lines}x`)).toContain('broker/a.ts has 401 lines')
  })
})
