import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { layerViolations, type Surroundings } from './layers.js'
import { readSources, root } from './source-files.js'

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  imports: Record<string, Record<string, string>>
  exports: Record<string, string | Record<string, string>>
  dependencies: Record<string, string>
}

/** `./dist/client/index.js` is compiled from `client/index.ts`. */
function sourceOf(output: string): string {
  return output.replace(/^\.\/dist\//, '').replace(/\.js$/, '.ts')
}

function surroundings(): Surroundings {
  const ownNames = new Map<string, string[]>()
  for (const [name, targets] of Object.entries(manifest.imports)) {
    ownNames.set(name, Object.values(targets).map(sourceOf))
  }
  for (const [name, target] of Object.entries(manifest.exports)) {
    const path = typeof target === 'string' ? target : target.default
    if (path?.startsWith('./dist/')) ownNames.set(`millrace${name.slice(1)}`, [sourceOf(path)])
  }
  return { ownNames, dependencies: Object.keys(manifest.dependencies) }
}

/** Adds empty files for the sample's targets, so that only the rule under test can fail. */
function violationsOf(sample: Record<string, string>): string[] {
  const names: Surroundings = { ...surroundings(), dependencies: ['ws', 'msgpackr', 'fastify'] }
  const platform = [...names.ownNames.values()].flat().map((path): [string, string] => [path, ''])
  return layerViolations(new Map([...platform, ...Object.entries(sample)]), names)
}

describe('the source tree', () => {
  it('keeps the layers of the architecture, without import cycles', () => {
    const sources = readSources(['protocol', 'client', 'broker', 'testing', 'load'])
    for (const folder of ['protocol', 'client', 'broker', 'testing']) {
      const paths = [...sources.keys()].filter((path) => path.startsWith(`${folder}/`))
      expect(paths.length, `source files in ${folder}/`).toBeGreaterThan(0)
    }
    expect(layerViolations(sources, surroundings())).toEqual([])
  })
})

describe('the layer check', () => {
  it('accepts what the layers allow', () => {
    const sample = {
      'protocol/frame.ts': `import { pack } from 'msgpackr/pack'\nimport { crc32 } from '#crc32'`,
      'protocol/platform/crc32-node.ts': `import { crc32 } from 'node:zlib'`,
      'client/platform/socket-node.ts': `import { WebSocket } from 'ws'\nimport { once } from 'node:events'`,
      'client/connection.ts': `import { open } from '#socket'\nimport '../protocol/frame.js'`,
      'broker/errors.ts': `import '../protocol/frame.js'`,
      'broker/platform/disk.ts': `import { open } from 'node:fs/promises'\nimport '../errors.js'`,
      'broker/wal/segment.ts': `import '../platform/disk.js'`,
      'broker/shard/append.ts': `import '../wal/segment.js'`,
      'broker/broker.ts': `import './shard/append.js'\nimport fastify from 'fastify'`,
      'broker/cli/produce.ts': `import { connect } from '../../client/connection.js'`,
      'broker/main.ts': `import './broker.js'\nimport('./cli/produce.js')`,
      'load/k6/session.ts': `import { crc32 } from '#crc32'\nimport '../../protocol/frame.js'`,
      'load/k6/runtime/metrics.ts': `import { Trend } from 'k6/metrics'\nimport '../session.js'`,
      'load/k6/runner.ts': `import { spawn } from 'node:child_process'\nimport './session.js'`,
      'testing/life.ts': `import '../broker/broker.js'\nimport '../client/connection.js'\nimport 'node:os'`,
      'load/bench.ts': `import { chromium } from 'playwright-core'\nimport '../broker/broker.js'`,
    }
    expect(violationsOf(sample)).toEqual([])
  })

  const cases: [rule: string, sample: Record<string, string>, message: string][] = [
    [
      'protocol importing the client',
      { 'protocol/a.ts': `import '../client/b.js'`, 'client/b.ts': '' },
      'protocol/a.ts imports ../client/b.js: protocol imports nothing of the tree but itself',
    ],
    [
      'protocol importing a package',
      { 'protocol/a.ts': `import { WebSocket } from 'ws'` },
      'protocol/a.ts imports ws: protocol imports no package but msgpackr',
    ],
    [
      'protocol importing node: outside its platform files',
      { 'protocol/a.ts': `import type { Buffer } from 'node:buffer'` },
      'protocol/a.ts imports node:buffer: protocol imports node: only in protocol/platform/*-node.ts',
    ],
    [
      'a portable platform file importing node:',
      { 'protocol/platform/crc32-portable.ts': `export { crc32 } from 'node:zlib'` },
      'protocol/platform/crc32-portable.ts imports node:zlib: ' +
        'protocol imports node: only in protocol/platform/*-node.ts',
    ],
    [
      'the client importing the broker',
      { 'client/a.ts': `import '../broker/broker.js'`, 'broker/broker.ts': '' },
      'client/a.ts imports ../broker/broker.js: client imports only itself and protocol',
    ],
    [
      'the client importing the broker by its published name',
      { 'client/a.ts': `import { startBroker } from 'millrace/broker'`, 'broker/index.ts': '' },
      'client/a.ts imports millrace/broker: client imports only itself and protocol',
    ],
    [
      'the client importing ws outside its platform files',
      { 'client/a.ts': `import { WebSocket } from 'ws'` },
      'client/a.ts imports ws: client imports ws only in client/platform/*-node.ts',
    ],
    [
      'the client importing node: outside its platform files',
      { 'client/a.ts': `const fs = await import('node:fs')` },
      'client/a.ts imports node:fs: client imports node: only in client/platform/*-node.ts',
    ],
    [
      'the client importing another package',
      { 'client/platform/gzip-node.ts': `import pino from 'pino'` },
      'client/platform/gzip-node.ts imports pino: client imports no package but msgpackr',
    ],
    [
      'what k6 loads importing node:',
      { 'load/k6/runtime/a.ts': `import { readFileSync } from 'node:fs'` },
      'load/k6/runtime/a.ts imports node:fs: ' +
        'what k6 loads imports only modules of k6, and those only in load/k6/runtime',
    ],
    [
      'what k6 loads importing modules of k6 outside its runtime files',
      { 'load/k6/reader.ts': `import { Trend } from 'k6/metrics'` },
      'load/k6/reader.ts imports k6/metrics: ' +
        'what k6 loads imports only modules of k6, and those only in load/k6/runtime',
    ],
    [
      'what k6 loads importing what runs in Node',
      { 'load/k6/reader.ts': `import './runner.js'`, 'load/k6/runner.ts': '' },
      'load/k6/reader.ts imports ./runner.js: what k6 loads imports only itself and protocol',
    ],
    [
      'what k6 loads importing the client',
      { 'load/k6/reader.ts': `import '../../client/b.js'`, 'client/b.ts': '' },
      'load/k6/reader.ts imports ../../client/b.js: what k6 loads imports only itself and protocol',
    ],
    [
      'the broker importing the client outside its CLI',
      { 'broker/session/a.ts': `import type { B } from '../../client/b.js'`, 'client/b.ts': '' },
      'broker/session/a.ts imports ../../client/b.js: only broker/cli/ may import the client',
    ],
    [
      'the broker importing what is not a dependency',
      { 'broker/http/a.ts': `import express from 'express'` },
      'broker/http/a.ts imports express: ' +
        'broker imports only node: modules and the dependencies in package.json',
    ],
    [
      'the broker importing a test',
      { 'broker/wal/a.ts': `import '../../test/support/disk.js'` },
      'broker/wal/a.ts imports ../../test/support/disk.js: broker imports only itself and protocol',
    ],
    [
      'a lower broker layer importing a higher one, if only a type',
      { 'broker/wal/a.ts': `type B = import('../shard/b.js').B`, 'broker/shard/b.ts': '' },
      'broker/wal/a.ts imports ../shard/b.js: broker/wal is below broker/shard and may not import it',
    ],
    [
      'config importing storage',
      { 'broker/config/a.ts': `export * from '../wal/b.js'`, 'broker/wal/b.ts': '' },
      'broker/config/a.ts imports ../wal/b.js: broker/config is below broker/wal and may not import it',
    ],
    [
      'a layer importing the composition root',
      { 'broker/http/a.ts': `import { Broker } from '../broker.js'`, 'broker/broker.ts': '' },
      'broker/http/a.ts imports ../broker.js: broker/http is below broker/broker and may not import it',
    ],
    [
      'a worker of a higher layer',
      {
        'broker/wal/a.ts': `new Worker(new URL('../shard/worker.js', import.meta.url))`,
        'broker/shard/worker.ts': '',
      },
      'broker/wal/a.ts imports ../shard/worker.js: broker/wal is below broker/shard and may not import it',
    ],
    [
      'siblings importing each other',
      { 'broker/chunks/a.ts': `export { b } from '../wal/b.js'`, 'broker/wal/b.ts': '' },
      'broker/chunks/a.ts imports ../wal/b.js: ' +
        'broker/chunks and broker/wal are siblings and do not import each other',
    ],
    [
      'a broker file outside the layers',
      { 'broker/utils/a.ts': '' },
      'broker/utils/a.ts: "utils" has no place in the broker\'s layers (test/tidy/layers.ts)',
    ],
    [
      'the broker importing what tests are made of',
      { 'broker/shard/a.ts': `import '../../testing/b.js'`, 'testing/b.ts': '' },
      'broker/shard/a.ts imports ../../testing/b.js: broker imports only itself and protocol',
    ],
    [
      'testing importing the tests of this repository',
      { 'testing/a.ts': `import '../test/support/b.js'` },
      'testing/a.ts imports ../test/support/b.js: testing imports only itself, broker, client and protocol',
    ],
    [
      'testing importing what is not a dependency',
      { 'testing/a.ts': `import { expect } from 'vitest'` },
      'testing/a.ts imports vitest: testing imports only node: modules and the dependencies in package.json',
    ],
    [
      'load importing tests',
      { 'load/a.ts': `import '../test/support/b.js'` },
      'load/a.ts imports ../test/support/b.js: load imports neither tests nor examples',
    ],
    [
      'a computed import',
      { 'broker/http/a.ts': 'await import(process.argv[2])' },
      'broker/http/a.ts imports (computed): an import names its module with a plain string',
    ],
    [
      'an import that leads nowhere',
      { 'broker/http/a.ts': `import './gone.js'` },
      'broker/http/a.ts imports ./gone.js: there is no source file broker/http/gone.js',
    ],
    [
      'a cycle',
      {
        'broker/wal/a.ts': `import './b.js'`,
        'broker/wal/b.ts': `import './c.js'`,
        'broker/wal/c.ts': `import './a.js'`,
      },
      'broker/wal/a.ts: import cycle broker/wal/a.ts -> broker/wal/b.ts -> broker/wal/c.ts -> broker/wal/a.ts',
    ],
    [
      'a cycle of types through a conditional import',
      {
        'client/a.ts': `import '#socket'`,
        'client/platform/socket-browser.ts': `import type { A } from '../a.js'`,
      },
      'client/a.ts: import cycle client/a.ts -> client/platform/socket-browser.ts -> client/a.ts',
    ],
    [
      'a file that imports itself',
      { 'client/a.ts': `export type { A } from './a.js'` },
      'client/a.ts: import cycle client/a.ts -> client/a.ts',
    ],
  ]

  it.each(cases)('refuses %s', (_rule, sample, message) => {
    expect(violationsOf(sample)).toEqual([message])
  })
})
