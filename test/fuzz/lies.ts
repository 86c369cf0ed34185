/** Another number where `value` stands: off by one, another one's, or of a size that nothing has. The same for the same n. */
export function otherNumber(
  value: number,
  n: number,
  { max = Number.MAX_SAFE_INTEGER, others = [] }: { max?: number; others?: readonly number[] } = {},
): number {
  const choices = [
    value + 1,
    value - 1,
    others[(n >> 3) % Math.max(1, others.length)] ?? 0,
    0,
    max,
    max - 1,
    value * 2 + 1,
    2 ** 31,
    1,
    Math.floor(max / 2) + 1,
  ]
  const chosen = choices[n % choices.length] as number
  return Math.min(max, Math.max(0, chosen))
}

/** One of `choices`, the same for the same n. */
export const chosen = <T>(choices: readonly T[], n: number): T => {
  if (choices.length === 0) throw new RangeError('nothing to choose from')
  return choices[n % choices.length] as T
}
