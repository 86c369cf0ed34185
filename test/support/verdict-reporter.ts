import { appendFileSync } from 'node:fs'
import type { SerializedError } from 'vitest'
import type { Reporter, TestModule } from 'vitest/node'

type Verdict = 'passed' | 'failed' | 'skipped' | 'passed when repeated'

/**
 * Adds a JSON line for each test to the file MILLRACE_VERDICTS: a long log need not be kept to know which test failed, and
 * one that failed first and passed when repeated is named too.
 */
export default class VerdictReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    for (const module of modules) {
      let failures = 0
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result()
        const isRepeated = state === 'passed' && test.diagnostic()?.flaky === true
        if (state === 'failed') failures++
        note(isRepeated ? 'passed when repeated' : state === 'pending' ? 'failed' : state, {
          name: `${module.relativeModuleId} > ${test.fullName}`,
          why: errors?.[0]?.message,
        })
      }
      // A file that cannot be loaded, or a hook of it, has no failed test of its own.
      if (module.state() === 'failed' && failures === 0)
        note('failed', { name: module.relativeModuleId, why: module.errors()[0]?.message })
    }
    for (const { message } of unhandled) note('failed', { name: 'outside of tests', why: message })
  }
}

function note(verdict: Verdict, { name, why }: { name: string; why: string | undefined }): void {
  const file = process.env.MILLRACE_VERDICTS
  if (file !== undefined)
    appendFileSync(file, `${JSON.stringify({ verdict, name, why: why?.slice(0, 500) })}\n`)
}
