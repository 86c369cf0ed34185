import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** Tests that kill processes and wait for new ones, most of a minute in all: a command of their own, which CI runs too. */
const slow = ['test/torture/**', 'test/fuzz/hostile-peers.test.ts', 'test/faults/process-faults.test.ts']

export default defineConfig({
  resolve: {
    // In-process tests run the sources: package.json points the same names at dist/.
    alias: [
      { find: /^#socket$/, replacement: source('client/platform/socket-node.ts') },
      { find: /^#gzip$/, replacement: source('client/platform/gzip-node.ts') },
      { find: /^#crc32$/, replacement: source('protocol/platform/crc32-node.ts') },
      { find: /^millrace$/, replacement: source('client/index.ts') },
      { find: /^millrace\/(broker|protocol|testing)$/, replacement: source('$1/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(process.env.MILLRACE_SLOW === '1' ? [] : slow)],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
