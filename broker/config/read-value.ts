import { LOG_LEVELS } from './schema.js'
import type { Setting } from './settings.js'
import { formatValue, parseBytes, parseCount, parseDuration } from './values.js'

/** A setting's value as a flag, variable or file gives it, read; or why it is refused. */
export type Reading = { readonly value: unknown } | { readonly fault: string }

const PARSERS = { bytes: parseBytes, duration: parseDuration, count: parseCount, port: parseCount } as const

const EXAMPLES = {
  bytes: 'a size such as 64MiB or 67108864',
  duration: 'a duration such as 10m, 500ms or 500',
  count: 'a whole number',
  port: 'a port number',
} as const

/** `raw` is a string from a flag or variable, and any JSON value from a file. */
export function readValue(setting: Setting, raw: unknown): Reading {
  switch (setting.kind) {
    case 'bytes':
    case 'duration':
    case 'count':
    case 'port':
      return readNumber(setting, setting.kind, raw)
    case 'path':
    case 'text':
      return typeof raw === 'string' && raw !== ''
        ? { value: raw }
        : { fault: 'must be a text that is not empty' }
    case 'origins':
      return readOrigins(raw)
    case 'hosts':
      return readHosts(raw)
    case 'level':
      return (LOG_LEVELS as readonly unknown[]).includes(raw)
        ? { value: raw }
        : { fault: `must be one of ${LOG_LEVELS.join(', ')}` }
  }
}

function readNumber(setting: Setting, kind: keyof typeof PARSERS, raw: unknown): Reading {
  const parsed = typeof raw === 'string' ? PARSERS[kind](raw) : raw
  if (typeof parsed !== 'number' || !Number.isSafeInteger(parsed))
    return { fault: `must be ${EXAMPLES[kind]}` }
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = setting
  if (parsed >= min && parsed <= max) return { value: parsed }
  return { fault: `must be between ${formatValue(kind, min)} and ${formatValue(kind, max)}` }
}

function readOrigins(raw: unknown): Reading {
  const items = typeof raw === 'string' ? raw.split(',') : raw
  const fault = 'must be a list of origins such as https://app.example.com, or *'
  if (!Array.isArray(items)) return { fault }
  const origins: string[] = []
  for (const item of items) {
    if (typeof item !== 'string') return { fault }
    const text = item.trim()
    if (text === '') continue
    const origin = text === '*' ? '*' : originOf(text)
    if (origin === undefined) return { fault }
    origins.push(origin)
  }
  return { value: origins }
}

function readHosts(raw: unknown): Reading {
  const items = typeof raw === 'string' ? raw.split(',') : raw
  const fault = 'must be a list of host names such as broker.example.com, without ports, or *'
  if (!Array.isArray(items)) return { fault }
  const hosts: string[] = []
  for (const item of items) {
    if (typeof item !== 'string') return { fault }
    const text = item.trim().toLowerCase()
    if (text === '') continue
    if (text !== '*' && !HOST_NAME.test(text)) return { fault }
    hosts.push(text)
  }
  return { value: hosts }
}

const HOST_NAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/

/** The origin as browsers send it; undefined when `text` is no origin, or has a path. */
function originOf(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  const isOrigin = url.origin !== 'null' && url.pathname === '/' && url.search === '' && url.hash === ''
  return isOrigin && url.username === '' ? url.origin : undefined
}
