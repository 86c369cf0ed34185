// Bundles the simulation and runs it. Its sources are TypeScript and stay out of dist/, which is published: the bundle is one
// file there that the next build sweeps away.
import { spawn } from 'node:child_process'
import { renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bundle = join(root, 'dist', 'sim.mjs')
// Another run may be loading the last one at this moment.
const own = `${bundle}.${process.pid}`

await build({
  entryPoints: [join(root, 'test/sim/main.ts')],
  outfile: own,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
  sourcemap: 'inline',
  // package.json points these names at dist/, which may be of another day.
  alias: {
    '#socket': join(root, 'client/platform/socket-node.ts'),
    '#gzip': join(root, 'client/platform/gzip-node.ts'),
    '#crc32': join(root, 'protocol/platform/crc32-node.ts'),
  },
  logLevel: 'error',
})
renameSync(own, bundle)

const child = spawn(process.execPath, ['--enable-source-maps', bundle, ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('exit', (code) => process.exit(code ?? 1))
