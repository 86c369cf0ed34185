// What the tests of all commands of .ci/run came to: node scripts/verdicts.js FILE (see test/support/verdict-reporter.ts).
// The last line counts those of the whole; exit code 1 when one failed, or none ran.
import { existsSync, readFileSync } from 'node:fs'

const [file] = process.argv.slice(2)
const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean) : []
const count = { passed: 0, failed: 0, skipped: 0 }
for (const line of lines) {
  const { verdict, name, why } = JSON.parse(line)
  count[verdict === 'passed when repeated' ? 'passed' : verdict] += 1
  if (verdict === 'failed' || verdict === 'passed when repeated') console.log(`${verdict}: ${name}: ${why}`)
}
if (count.skipped > 0) console.log(`${count.skipped} skipped`)
console.log(lines.length === 0 ? 'no test ran' : `${count.passed} passed, ${count.failed} failed`)
process.exitCode = lines.length === 0 || count.failed > 0 ? 1 : 0
