/**
 * The Standard Schema interface, version 1 (https://standardschema.dev), as the specification asks libraries to copy it:
 * Zod, Valibot, ArkType, TypeBox and others have it.
 */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly '~standard': StandardSchemaProps<Input, Output>
}

export interface StandardSchemaProps<Input = unknown, Output = Input> {
  readonly version: 1
  readonly vendor: string
  readonly validate: (value: unknown) => StandardSchemaResult<Output> | Promise<StandardSchemaResult<Output>>
  readonly types?: { readonly input: Input; readonly output: Output } | undefined
}

export type StandardSchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardSchemaIssue[] }

export interface StandardSchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

export type SchemaInput<S extends StandardSchemaV1> = NonNullable<S['~standard']['types']>['input']
export type SchemaOutput<S extends StandardSchemaV1> = NonNullable<S['~standard']['types']>['output']

/** The first issues as one sentence: `items[0].price: expected a number`. */
export function issuesText(issues: readonly StandardSchemaIssue[]): string {
  const texts = issues.slice(0, ISSUES_SHOWN).map(({ message, path }) => {
    const place = pathText(path ?? [])
    return place === '' ? message : `${place}: ${message}`
  })
  const hidden = issues.length - texts.length
  return texts.join('; ') + (hidden > 0 ? `; and ${hidden} more` : '')
}

const ISSUES_SHOWN = 3

function pathText(path: NonNullable<StandardSchemaIssue['path']>): string {
  let text = ''
  for (const segment of path) {
    const key = typeof segment === 'object' ? segment.key : segment
    if (typeof key === 'number') text += `[${key}]`
    else text += text === '' ? String(key) : `.${String(key)}`
  }
  return text
}
