/** A record's value: its name, and a filler that shows damage and takes room. */
export function payloadOf(name: string, fillerBytes: number): string {
  return `${name} ${fillerBytes} ${'x'.repeat(fillerBytes)}`
}

/** The name in it; another one when it is not as `payloadOf` made it. */
export function nameOf(value: unknown): string {
  const [name, length, filler = ''] = typeof value === 'string' ? value.split(' ') : []
  const isWhole = name !== undefined && /^x*$/.test(filler) && filler.length === Number(length)
  return isWhole ? name : `damaged: ${String(value).slice(0, 40)}`
}

/** The name of what is tried several times and is to be done once: each attempt has one of its own, to be told apart. */
export const attemptOf = (what: string, attempt: string): string => `${what}@${attempt}`

/** What was attempted; undefined for a record that is no attempt. */
export function whatOf(name: string): string | undefined {
  const at = name.indexOf('@')
  return at < 0 ? undefined : name.slice(0, at)
}
