import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

/** A build of the scenarios for k6 from version `since` on, up to the next flavour's. */
export interface Flavour {
  readonly name: string
  readonly since: readonly [major: number, minor: number]
  /** What the flavour imports instead of `k6/websockets` and `k6/timers`. */
  readonly modules: Readonly<Record<string, string>>
}

/**
 * Newest first. There are two WebSocket modules; the older one comes with two names of the timers, because `k6/timers`
 * is only there from 0.50 on, and its experimental forerunner no more from 0.54 on.
 */
export const FLAVOURS: readonly Flavour[] = [
  { name: 'stable', since: [1, 6], modules: {} },
  { name: 'experimental', since: [0, 50], modules: { 'k6/websockets': 'k6/experimental/websockets' } },
  {
    name: 'experimental-timers',
    since: [0, 47],
    modules: {
      'k6/websockets': 'k6/experimental/websockets',
      'k6/timers': 'k6/experimental/timers',
    },
  },
]

/** The flavour for what `k6 version` prints; undefined for a k6 that is too old or prints something else. */
export function flavourFor(versionOutput: string): Flavour | undefined {
  const found = /\bv?(\d+)\.(\d+)\.\d+/.exec(versionOutput)
  if (found === null) return undefined
  const version = [Number(found[1]), Number(found[2])] as const
  return FLAVOURS.find(({ since }) => isAtLeast(version, since))
}

type Version = readonly [major: number, minor: number]
const isAtLeast = (version: Version, least: Version): boolean =>
  version[0] > least[0] || (version[0] === least[0] && version[1] >= least[1])

/** The checkout, whether this runs from its sources or from dist/. */
function checkout(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}

/** package.json says that no module has side effects, for which an import of baseline.ts would be dropped. */
const keepBaseline: Plugin = {
  name: 'keep-baseline',
  setup(bundler) {
    bundler.onResolve({ filter: /\/baseline\.js$/ }, ({ resolveDir, path }) => ({
      path: join(resolveDir, path.replace(/js$/, 'ts')),
      sideEffects: true,
    }))
  },
}

/** The script of a scenario, in one file that needs nothing but k6. */
export async function bundleScenario(name: string, flavour: Flavour): Promise<string> {
  const root = checkout()
  const { outputFiles } = await build({
    entryPoints: [join(root, `load/k6/scenarios/${name}.ts`)],
    bundle: true,
    write: false,
    format: 'esm',
    // Nothing of a browser or of Node: k6's engine has the language and k6's own modules.
    platform: 'neutral',
    target: 'es2015',
    external: ['k6', 'k6/*'],
    alias: { '#crc32': join(root, 'protocol/platform/crc32-portable.ts'), ...flavour.modules },
    plugins: [keepBaseline],
    logLevel: 'silent',
  })
  return outputFiles[0]?.text ?? ''
}
