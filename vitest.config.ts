import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** Tests that kill processes and wait for new ones, and other long ones: a command of their own, which CI runs too. */
const slow = [
  'test/torture/**',
  'test/conformance/streams-client.test.ts',
  'test/crash/{dedup-race,disk-watermark,exactly-once,flip-bytes,kills,main-job,queue-kills,retention-process,stopped-member}.test.ts',
  'test/fuzz/hostile-peers.test.ts',
  'test/faults/process-faults.test.ts',
  'test/sim/planted-faults.test.ts',
]
const { CI, MILLRACE_LONG, MILLRACE_SLOW, MILLRACE_VERDICTS } = process.env
const exclude = [...configDefaults.exclude, ...(MILLRACE_SLOW === '1' || MILLRACE_LONG === '1' ? [] : slow)]

/** Tests of parts. Their files share processes: to load the sources for each file took longer than most of the tests. */
const parts = ['broker', 'client', 'protocol', 'checker'].map((folder) => `test/${folder}/**/*.test.ts`)
/** Those of them that replace modules or globals, or look at the memory of the process. */
const apart = [
  'test/broker/platform/{aligned-memory,clock,node-disk}.test.ts',
  'test/broker/shard/{backlog,unit-encoding}.test.ts',
  'test/protocol/utf8.test.ts',
]
/** Tests that mostly wait for processes, and do not look at the clock: more of them at once than there are cores. */
const waiting = [
  'test/client/process.test.ts',
  'test/crash/{cut-connections,exactly-once,kills,main-job}.test.ts',
]

/** What they find happens once in many runs: to repeat them until they pass would hide it. */
const proofs = ['crash', 'faults', 'fuzz', 'sim', 'torture'].map((folder) => `test/${folder}/**/*.test.ts`)
/** The others may be late once on a machine that is busy; .ci/run names those that were. */
const retry = CI === 'true' ? 1 : 0

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
    pool: 'forks',
    reporters:
      MILLRACE_VERDICTS === undefined ? ['default'] : ['default', './test/support/verdict-reporter.ts'],
    // What a test left to be closed, also where a process has run other files before.
    setupFiles: ['test/support/setup.ts'],
    maxWorkers: 2,
    // So long that only what hangs gets there: a machine that is busy for a while fails no test.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: parts,
          exclude: [...exclude, ...apart, ...waiting],
          isolate: false,
          retry,
        },
      },
      { extends: true, test: { name: 'apart', include: apart, exclude, retry } },
      {
        extends: true,
        test: {
          name: 'whole',
          include: ['test/**/*.test.ts', 'examples/**/*.test.ts'],
          exclude: [...exclude, ...parts, ...proofs, ...waiting],
          retry,
        },
      },
      { extends: true, test: { name: 'proofs', include: proofs, exclude: [...exclude, ...waiting] } },
      {
        extends: true,
        test: { name: 'waiting', include: waiting, exclude, maxWorkers: 4, sequence: { groupOrder: 1 } },
      },
    ],
  },
})
