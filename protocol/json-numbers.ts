/**
 * Whole numbers in a JSON text that JSON.parse would silently round: 2^53 + 1 for one. Most texts have no run of so many
 * digits, and are not looked at twice.
 */
const LONG_RUN = /\d{16}/
/** A string, or a number: strings are matched so that digits in them are passed over. */
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs

/** The first whole number, written with all its digits, that a double would change; undefined when there is none. */
export function inexactNumberIn(json: string): string | undefined {
  if (json.length < 16 || !LONG_RUN.test(json)) return undefined
  for (const [token] of json.matchAll(STRING_OR_NUMBER)) {
    if (token.length < 16 || !/^-?\d+$/.test(token)) continue
    if (String(Number(token)) !== token) return token
  }
  return undefined
}
