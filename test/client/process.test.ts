import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, it } from 'vitest'
import { CLIENT_VERSION } from '../../client/version.js'
import { ScriptedBroker } from '../support/scripted-broker.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Bundles a script to where Node finds the packages it imports. */
async function bundle(entry: string): Promise<{ file: string; remove: () => void }> {
  const parent = join(root, 'node_modules/.test-scripts')
  mkdirSync(parent, { recursive: true })
  const directory = mkdtempSync(join(parent, 'client-'))
  const file = join(directory, 'script.mjs')
  await build({
    entryPoints: [join(root, entry)],
    outfile: file,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    alias: {
      '#socket': join(root, 'client/platform/socket-node.ts'),
      '#gzip': join(root, 'client/platform/gzip-node.ts'),
      '#crc32': join(root, 'protocol/platform/crc32-node.ts'),
    },
  })
  return { file, remove: () => rmSync(directory, { recursive: true }) }
}

it('a process ends by itself once its clients are closed', async () => {
  const broker = await ScriptedBroker.start()
  const script = await bundle('test/client/quiet-exit.ts')
  try {
    const env = { ...process.env, BROKER_URL: broker.url }
    const child = spawn(process.execPath, [script.file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    expect(line.toString()).toBe('closed\n')
    expect(await exited).toEqual([0, null])
  } finally {
    script.remove()
    await broker.stop()
  }
})

it('the client says the version that package.json has', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(CLIENT_VERSION).toBe(manifest.version)
})
