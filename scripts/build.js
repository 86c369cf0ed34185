// Compiles to dist/. With --if-possible (npm's prepare hook) it is a no-op where the compiler is not
// installed, as after `npm ci --omit=dev`: an install must not fail for want of a development tool.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

function compilerPath() {
  try {
    return createRequire(import.meta.url)
      .resolve('typescript/package.json')
      .replace(/package\.json$/, 'bin/tsc')
  } catch {
    return undefined
  }
}

// Stale outputs are swept one by one, so that a broker started from dist/ survives a rebuild.
function sweepStaleOutputs() {
  const dist = join(root, 'dist')
  if (!existsSync(dist)) return
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const output = join(entry.parentPath, entry.name)
    const source = join(
      root,
      output.slice(dist.length + 1).replace(/(\.d\.(c?)ts|\.(c?)js)(\.map)?$/, '.$2$3ts'),
    )
    if (!existsSync(source)) rmSync(output)
  }
}

const tsc = compilerPath()
if (tsc === undefined) {
  if (process.argv.includes('--if-possible')) process.exit(0)
  console.error('build: typescript is not installed; run npm ci without --omit=dev')
  process.exit(1)
}

sweepStaleOutputs()
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
// npm makes commands executable when it links them; a build replaces the file after that.
const main = join(root, 'dist/broker/millrace.cjs')
if (existsSync(main)) chmodSync(main, 0o755)
process.exit(status ?? 1)
