/** How sizes, durations and counts are written by people, and read. */

export type ValueKind =
  | 'bytes'
  | 'duration'
  | 'count'
  | 'port'
  | 'path'
  | 'text'
  | 'origins'
  | 'hosts'
  | 'level'

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  // As in memory sizes everywhere, kb is 1024: a limit that is 2% larger than meant is no surprise, two meanings are.
  k: 1024,
  kb: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1024 ** 4,
  tib: 1024 ** 4,
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Bytes of `64MiB`, `64mb`, `1.5g` or `67108864`; undefined when it is none of these. */
export const parseBytes = (text: string): number | undefined => parseUnits(text, BYTE_UNITS)

/** Milliseconds of `10m`, `500ms`, `7d` or `500`; undefined when it is none of these. */
export const parseDuration = (text: string): number | undefined => parseUnits(text, DURATION_UNITS)

/** A whole number, with `_` or `,` between digits allowed. */
export function parseCount(text: string): number | undefined {
  const digits = text.trim().replace(/(?<=\d)[_,](?=\d)/g, '')
  return /^\d+$/.test(digits) ? safe(Number(digits)) : undefined
}

function parseUnits(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d[\d_]*(?:\.\d+)?)\s*([a-z]*)$/.exec(text.trim().toLowerCase())
  if (match === null) return undefined
  const [, digits = '', name = ''] = match
  const unit = Object.hasOwn(units, name) ? units[name] : undefined
  return unit === undefined ? undefined : safe(Number(digits.replaceAll('_', '')) * unit)
}

const safe = (value: number): number | undefined => (Number.isSafeInteger(value) ? value : undefined)

const SIZES = [
  ['TiB', 1024 ** 4],
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
] as const

/** `64 MiB` where that is exact, else plain bytes: what is printed is never rounded. */
export function formatBytes(bytes: number): string {
  for (const [name, unit] of SIZES) if (bytes >= unit && bytes % unit === 0) return `${bytes / unit} ${name}`
  return `${bytes} B`
}

const DURATIONS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const

/** `10 min` where that is exact, else milliseconds. */
export function formatDuration(ms: number): string {
  for (const [name, unit] of DURATIONS) if (ms >= unit && ms % unit === 0) return `${ms / unit} ${name}`
  return `${ms} ms`
}

/** A value as help texts, the documentation and error messages show it. */
export function formatValue(kind: ValueKind, value: unknown): string {
  if (typeof value !== 'number') return Array.isArray(value) ? value.join(', ') || 'none' : String(value)
  if (kind === 'bytes') return formatBytes(value)
  if (kind === 'duration') return formatDuration(value)
  return kind === 'port' ? String(value) : formatCount(value)
}

/** `12,345`, of whole numbers. Not `toLocaleString`: the first call of that loads the world's formats, which takes 30 ms. */
export const formatCount = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',')
