import { describe, expect, it } from 'vitest'
import { errorsOf, type Method, type Route } from '../../../broker/http/route.js'
import { routesOf } from '../../../broker/http/routes/index.js'
import { ERROR_CODES } from '../../../protocol/error-codes.js'
import { startHttp } from './harness.js'

const routes = routesOf({ measured: undefined, version: '1.2.3' })
const templateOf = ({ path }: Route) => path.replace(/:(\w+)/g, '{$1}').replace('*', '{path}')
const nameOf = ({ method, path }: Route) => `${method} ${path}`

// biome-ignore lint/suspicious/noExplicitAny: the document is compared with what the routes say.
const documentOf = async (): Promise<any> => (await (await startHttp()).get('/openapi.json')).json

describe('the OpenAPI document', () => {
  it('has every route that is served, and no other', async () => {
    const { paths, openapi } = await documentOf()
    expect(openapi).toBe('3.1.0')
    const documented = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations as object).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(documented.sort()).toEqual(routes.map((route) => `${route.method} ${templateOf(route)}`).sort())
  })

  it('names each operation once', () => {
    const ids = routes.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it.each(routes.map((route) => [nameOf(route), route] as const))(
    '%s is served, and as documented',
    async (_name, route) => {
      const { paths } = await documentOf()
      const operation = paths[templateOf(route)][route.method.toLowerCase()]
      const placeholders = [...route.path.matchAll(/:(\w+)|\*/g)].map((match) => match[1] ?? 'path')
      const inPath = operation.parameters.filter((parameter: { in: string }) => parameter.in === 'path')
      expect(inPath.map(({ name }: { name: string }) => name)).toEqual(placeholders)
      expect(operation.summary).toMatch(/^[A-Z].*[^.]$/)
      for (const [status, codes] of errorsOf(route)) {
        expect(codes.map((code) => ERROR_CODES[code].httpStatus)).toEqual(codes.map(() => status))
        for (const code of codes) expect(operation.responses[status].description).toContain(code)
      }
      // A router that did not know the path, or not the method, would say so.
      const http = await startHttp()
      const answer = await http.askPlainly(route.method, pathOf(route), bodyOf(route.method))
      expect(['UNKNOWN_ROUTE', 'METHOD_NOT_ALLOWED']).not.toContain(answer.json?.error?.code)
    },
  )

  it('refers to nothing that it does not hold', async () => {
    const document = await documentOf()
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      (match) => match[1] as string,
    )
    expect(references.length).toBeGreaterThan(10)
    for (const reference of new Set(references)) {
      let at = document
      for (const name of reference.split('/')) at = at?.[name]
      expect(at, reference).toBeDefined()
    }
  })

  it('has an object for each answer in JSON, with all fields that a real answer has', async () => {
    const http = await startHttp()
    const { paths } = await documentOf()
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', { value: 1 })
    for (const [path, template] of [
      ['/v1/topics', '/v1/topics'],
      ['/v1/topics/a', '/v1/topics/{topic}'],
      ['/v1/topics/a/partitions', '/v1/topics/{topic}/partitions'],
      ['/v1/topics/a/partitions/0/records', '/v1/topics/{topic}/partitions/{partition}/records'],
      ['/v1/groups', '/v1/groups'],
    ] as const) {
      const { schema } = paths[template].get.responses[200].content['application/json']
      expectFits((await http.get(path)).json, schema, path)
    }
  })
})

const pathOf = ({ path }: Route): string => path.replace(':partition', '0').replace(/:\w+|\*/g, 'x')

function bodyOf(method: Method): object {
  return method === 'GET' || method === 'DELETE' ? {} : { body: {} }
}

/** As far as these schemas go: objects of exactly their properties, lists of their items. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON, any schema.
function expectFits(value: any, schema: any, path: string): void {
  if (schema.type === 'array') {
    expect(Array.isArray(value), path).toBe(true)
    for (const item of value) expectFits(item, schema.items, `${path}[]`)
  } else if (schema.type === 'object') {
    expect(Object.keys(value).sort(), path).toEqual(Object.keys(schema.properties).sort())
    for (const name of Object.keys(value)) expectFits(value[name], schema.properties[name], `${path}.${name}`)
  } else if (schema.type === 'integer') expect(Number.isInteger(value), path).toBe(true)
  else if (schema.type !== undefined) expect(typeof value, path).toBe(schema.type)
}
