// How long the first `testBroker()` of a fresh process takes, and the second: `npm run build && node scripts/test-broker-start.js`.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const RUNS = 10
const program = `
  import { testBroker } from 'millrace/testing'
  const times = []
  for (let i = 0; i < 2; i++) {
    const startMs = performance.now()
    const broker = await testBroker()
    times.push(performance.now() - startMs)
    await broker.close()
  }
  console.log(JSON.stringify(times))
`
const cwd = fileURLToPath(new URL('..', import.meta.url))
const runs = Array.from({ length: RUNS }, () =>
  JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '--eval', program], { cwd, encoding: 'utf8' }),
  ),
)
for (const [index, name] of ['first', 'second'].entries()) {
  const times = runs.map((run) => run[index]).sort((a, b) => a - b)
  const [least, median, most] = [times[0], times[RUNS / 2], times[RUNS - 1]].map((ms) => ms.toFixed(0))
  console.log(
    `${name} start in a fresh process: median ${median} ms (${least} to ${most}, ${RUNS} processes)`,
  )
}
