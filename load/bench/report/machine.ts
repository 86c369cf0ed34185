import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { cpus, release, totalmem, type } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export interface Hardware {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  /** Of the data directory. */
  readonly disk: DiskPlace
}

/** Where a directory lies; undefined where the system does not say. */
export interface DiskPlace {
  readonly device: string | undefined
  readonly filesystem: string | undefined
}

export interface Versions {
  readonly node: string
  readonly millrace: string
  /** Of the checkout; `+changes` when it holds others than committed. Undefined where there is none. */
  readonly commit: string | undefined
}

const run = promisify(execFile)
/** Of the checkout: this file stands in dist/load/bench/report. */
const root = join(dirname(fileURLToPath(import.meta.url)), '../../../..')

/** The mount with the longest path that holds `directory`, of /proc/mounts. */
export function mountOf(mounts: string, directory: string): DiskPlace {
  let best: { path: string; place: DiskPlace } | undefined
  for (const line of mounts.split('\n')) {
    const [device, path, filesystem] = line.split(' ')
    if (device === undefined || path === undefined || filesystem === undefined) continue
    const holds = path === '/' || directory === path || directory.startsWith(`${path}/`)
    // Of two at one path the later one lies on top.
    if (holds && path.length >= (best?.path.length ?? 0)) best = { path, place: { device, filesystem } }
  }
  return best?.place ?? { device: undefined, filesystem: undefined }
}

export async function hardwareOf(directory: string): Promise<Hardware> {
  const processors = cpus()
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '')
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    disk: mountOf(mounts, directory),
  }
}

export async function versionsHere(): Promise<Versions> {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  return { node: process.version, millrace: manifest.version, commit: await commitHere() }
}

async function commitHere(): Promise<string | undefined> {
  try {
    const git = ['-C', root, '-c', `safe.directory=${root}`]
    const { stdout: commit } = await run('git', [...git, 'rev-parse', '--short=12', 'HEAD'])
    const { stdout: changes } = await run('git', [...git, 'status', '--porcelain', '--untracked-files=no'])
    return `${commit.trim()}${changes === '' ? '' : '+changes'}`
  } catch {
    return undefined
  }
}
