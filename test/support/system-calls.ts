/** One system call of a trace: where it began and where it returned, as line numbers, which are in the order of time. */
export interface SystemCall {
  readonly name: string
  readonly args: string
  readonly begun: number
  readonly returned: number
  readonly result: string
}

/** Reads the output of `strace -f -xx`, in which calls of several threads interleave. */
export function parseTrace(text: string): SystemCall[] {
  const calls: SystemCall[] = []
  const unfinished = new Map<string, { name: string; args: string; begun: number }>()
  for (const [line, content] of text.split('\n').entries()) {
    const begun = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/.exec(content)
    if (begun !== null) {
      const [, thread = '', name = '', args = ''] = begun
      unfinished.set(`${thread} ${name}`, { name, args, begun: line })
      continue
    }
    const resumed = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\w+)/.exec(content)
    if (resumed !== null) {
      const [, thread = '', name = '', rest = '', result = ''] = resumed
      const start = unfinished.get(`${thread} ${name}`)
      if (start !== undefined) calls.push({ ...start, args: start.args + rest, returned: line, result })
      unfinished.delete(`${thread} ${name}`)
      continue
    }
    const whole = /^(\d+) +(\w+)\((.*)\) += (-?\w+)/.exec(content)
    if (whole === null) continue
    const [, , name = '', args = '', result = ''] = whole
    calls.push({ name, args, begun: line, returned: line, result })
  }
  return calls
}

/** Text as `strace -xx` prints it. */
export const asHex = (text: string | Uint8Array): string =>
  [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
