import { errorBody } from './error-reply.js'
import { type Answer, errorsOf, type Route } from './route.js'
import type { Fields, Shape } from './shape.js'

/** The routes as an OpenAPI 3.1 document. */
export function openApiDocument(routes: readonly Route[], { version }: { version: string }): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    const path = templateOf(route.path)
    paths[path] ??= {}
    paths[path][route.method.toLowerCase()] = operationOf(route)
    if (route.isOpen || route.hasHead) paths[path].head = operationOf(headOf(route))
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace',
      version,
      description: 'A durable event log over HTTP: docs/HTTP.md says what holds for all of it.',
      license: { name: 'MIT' },
    },
    paths,
    components: { schemas: { Error: errorBody.schema } },
  }
}

/** The same without bodies, and so without ranges of them. */
function headOf(route: Route): Route {
  const answers = Object.entries(route.answers)
    .filter(([status]) => status !== '206')
    .map(([status, { content: _, ...answer }]) => [status, answer])
  return { ...route, id: `${route.id}Head`, answers: Object.fromEntries(answers) as Route['answers'] }
}

/** `/v1/topics/:topic` as `/v1/topics/{topic}`. */
export const templateOf = (path: string): string => path.replace(/:(\w+)/g, '{$1}').replace('*', '{path}')

function operationOf(route: Route): object {
  const { id, summary, about, params = {}, query = {}, requestHeaders = {}, body } = route
  return {
    operationId: id,
    summary,
    ...(about === undefined ? {} : { description: about }),
    parameters: [
      ...parametersIn('path', params),
      ...parametersIn('query', query),
      ...Object.entries(requestHeaders).map(([name, description]) => headerParameter(name, description)),
      ...(route.isMutation && !route.hasOwnRetries ? [IDEMPOTENCY_KEY] : []),
    ],
    ...(body === undefined ? {} : { requestBody: requestBodyOf(body) }),
    responses: responsesOf(route),
  }
}

const headerParameter = (name: string, description: string) => ({
  name,
  in: 'header',
  required: false,
  description,
  schema: { type: 'string' },
})

const IDEMPOTENCY_KEY = {
  ...headerParameter('Idempotency-Key', 'The same key on a repeated request gets the first answer.'),
  schema: { type: 'string', minLength: 1, maxLength: 256 },
}

function parametersIn(place: 'path' | 'query', fields: Fields): object[] {
  return Object.entries(fields).map(([name, { schema, isOptional }]) => ({
    name: name === '*' ? 'path' : name,
    in: place,
    required: place === 'path' || isOptional !== true,
    schema,
  }))
}

function requestBodyOf(body: NonNullable<Route['body']>): object {
  if ('bytes' in body) return { required: false, description: body.bytes, content: { '*/*': {} } }
  if ('raw' in body) return { required: true, content: contentOf(body.raw) }
  return { required: body.isOptional !== true, content: contentOf({ 'application/json': body.json }) }
}

function responsesOf(route: Route): Record<string, object> {
  const responses: Record<string, object> = {}
  for (const [status, answer] of Object.entries(route.answers)) responses[status] = answerOf(answer)
  for (const [status, codes] of errorsOf(route)) {
    // Where a status means an answer too, the error is one of its bodies.
    const description = [route.answers[status]?.about, codes.join(', ')].filter(Boolean).join(' ')
    responses[status] = { description, content: ERROR_CONTENT }
  }
  return responses
}

const ERROR_CONTENT = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } }

function answerOf({ about, content, headers }: Answer): object {
  return {
    description: about,
    ...(headers === undefined ? {} : { headers: headersOf(headers) }),
    ...(content === undefined ? {} : { content: contentOf(content) }),
  }
}

function headersOf(headers: Readonly<Record<string, string>>): object {
  const entries = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: 'string' } },
  ])
  return Object.fromEntries(entries) as object
}

function contentOf(content: Readonly<Record<string, Shape<unknown> | undefined>>): object {
  const entries = Object.entries(content).map(([type, shape]) => [
    type,
    shape === undefined ? {} : { schema: shape.schema },
  ])
  return Object.fromEntries(entries) as object
}
