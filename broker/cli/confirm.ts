import { createInterface } from 'node:readline/promises'
import { usageFailure } from './failure.js'

/**
 * Whether a person says yes to what there is no way back from. Throws, with the words of `otherwise`, where there is no
 * terminal to ask on: a script must not destroy by a slip.
 */
export async function isConfirmed(question: string, otherwise: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw usageFailure(`${otherwise} needs --yes: stdin is no terminal, so there is nobody to ask`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim())
  } finally {
    terminal.close()
  }
}
