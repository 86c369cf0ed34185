// Compiles to dist/, and makes a few files of the 400 that the executable consists of: Node takes 0.2 s less to load them, which
// is a third of a start. With --if-possible (npm's prepare hook) it is a no-op where the compiler is not
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

// Replaces the compiled dist/broker/main.js, which nothing but the executable imports. Dependencies stay packages.
async function bundleExecutable() {
  const { build } = await import('esbuild')
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['dist/broker/main.js'],
    outdir: 'dist/broker',
    allowOverwrite: true,
    bundle: true,
    // What a command does not need it does not load.
    splitting: true,
    chunkNames: 'main-[hash]',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    alias: {
      '#socket': './dist/client/platform/socket-node.js',
      '#gzip': './dist/client/platform/gzip-node.js',
      '#crc32': './dist/protocol/platform/crc32-node.js',
    },
    sourcemap: true,
    metafile: true,
    logLevel: 'warning',
  })
  return new Set(Object.keys(metafile.outputs).map((output) => join(root, output)))
}

// Stale outputs are swept one by one, so that a broker started from dist/ survives a rebuild.
function sweepStaleOutputs(bundle) {
  const dist = join(root, 'dist')
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const output = join(entry.parentPath, entry.name)
    if (bundle.has(output)) continue
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

const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
// npm makes commands executable when it links them; a build replaces the file after that.
const executable = join(root, 'dist/broker/millrace.cjs')
if (existsSync(executable)) chmodSync(executable, 0o755)
if (status !== 0) process.exit(status ?? 1)
sweepStaleOutputs(await bundleExecutable())
