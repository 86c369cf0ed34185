/** What the OpenAPI document promises of answers, and whether one keeps it. */

interface Schema {
  readonly $ref?: string
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | 'null'
  readonly anyOf?: readonly Schema[]
  readonly enum?: readonly unknown[]
  readonly pattern?: string
  readonly format?: string
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly items?: Schema
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean
}

interface Response {
  readonly description: string
  readonly headers?: Readonly<Record<string, object>>
  readonly content?: Readonly<Record<string, { readonly schema?: Schema }>>
}

export interface Operation {
  readonly responses: Readonly<Record<string, Response>>
}

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

/** What was answered. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly bytes: Buffer
}

/** The template that a path is one of; undefined: it is not documented. */
export function templateOf({ paths }: Document, path: string): string | undefined {
  const [bare = ''] = path.split('?', 1)
  return Object.keys(paths).find((template) => {
    const pattern = template
      .replace(/[.]/g, '\\.')
      .replace('{path}', '.+')
      .replace(/\{\w+\}/g, '[^/]*')
    return new RegExp(`^${pattern}$`).test(bare)
  })
}

const mediaType = ({ headers }: Answer): string =>
  String(headers['content-type'] ?? '').split(';', 1)[0] as string

/** The name of an answer: its status, and the type of its body if it has one. */
export const nameOf = (answer: Answer): string =>
  answer.bytes.length === 0 ? String(answer.status) : `${answer.status} ${mediaType(answer)}`

/** The names of all answers of an operation that are no errors; `*` of a type that the stream has. */
export function successesOf({ responses }: Operation): string[] {
  return Object.entries(responses)
    .filter(([status]) => Number(status) < 400)
    .flatMap(([status, { content }]) =>
      content === undefined ? [status] : Object.keys(content).map((type) => `${status} ${type}`),
    )
}

/** What is wrong with an answer that has this status; undefined when it is as documented. */
export function bodyFault(document: Document, { content }: Response, answer: Answer): string | undefined {
  const { bytes, headers } = answer
  if (bytes.length === 0) return content === undefined ? undefined : 'no body, though one is documented'
  const type = mediaType(answer)
  const documented = content?.[type] ?? content?.['*/*']
  if (documented === undefined) return `a body of ${type}, of which nothing is said`
  const { schema } = documented
  if (schema === undefined || headers['content-encoding'] !== undefined) return undefined
  const text = bytes.toString()
  const values = type === 'application/x-ndjson' ? text.trimEnd().split('\n') : [text]
  for (const each of type.endsWith('json') ? values : []) {
    const fault = valueFault(JSON.parse(each), schema, { document, path: 'body' })
    if (fault !== undefined) return fault
  }
  return undefined
}

interface Place {
  readonly document: Document
  readonly path: string
}

/** Why a value is not what a schema says. */
export function valueFault(value: unknown, schema: Schema, { document, path }: Place): string | undefined {
  if (schema.$ref !== undefined) {
    const named = document.components.schemas[schema.$ref.split('/').at(-1) ?? '']
    return named === undefined ? `${schema.$ref} is not there` : valueFault(value, named, { document, path })
  }
  if (schema.anyOf !== undefined) {
    const faults = schema.anyOf.map((one) => valueFault(value, one, { document, path }))
    return faults.includes(undefined) ? undefined : faults[0]
  }
  const fault = typeFault(value, schema)
  if (fault !== undefined) return `${path}: ${fault}`
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const fault = valueFault(item, schema.items ?? {}, { document, path: `${path}[${index}]` })
      if (fault !== undefined) return fault
    }
  } else if (typeof value === 'object' && value !== null) {
    const { properties = {}, required = [], additionalProperties } = schema
    for (const name of required) if (!(name in value)) return `${path}.${name}: missing`
    for (const [name, item] of Object.entries(value)) {
      const known = properties[name]
      if (known === undefined && additionalProperties === false)
        return `${path}.${name}: of which nothing is said`
      const fault = known && valueFault(item, known, { document, path: `${path}.${name}` })
      if (fault !== undefined) return fault
    }
  }
  return undefined
}

const TIME = /^(\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

function typeFault(value: unknown, schema: Schema): string | undefined {
  const { type, minimum = -Infinity, maximum = Infinity, maxLength = Infinity, pattern, format } = schema
  const is = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value
  const isOf = type === undefined || type === is || (type === 'integer' && Number.isInteger(value))
  if (!isOf) return `${JSON.stringify(value)} is no ${type}`
  if (schema.enum !== undefined && !schema.enum.includes(value)) return `${value} is none of ${schema.enum}`
  if (typeof value === 'number' && (value < minimum || value > maximum)) return `${value} is out of bounds`
  if (Array.isArray(value) && value.length > (schema.maxItems ?? Infinity)) return 'too many items'
  if (typeof value !== 'string') return undefined
  if (value.length > maxLength) return 'too long'
  if (pattern !== undefined && !new RegExp(pattern).test(value)) return `"${value}" is not ${pattern}`
  return format === 'date-time' && !TIME.test(value) ? `"${value}" is no time` : undefined
}
