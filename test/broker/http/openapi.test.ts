import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { errorsOf, type Method, type Route } from '../../../broker/http/route.js'
import { routesOf } from '../../../broker/http/routes/index.js'
import { ERROR_CODES } from '../../../protocol/error-codes.js'
import { startHttp } from './harness.js'

const routes = routesOf({ measured: undefined, version: '1.2.3' })
const templateOf = ({ path }: Route) => path.replace(/:(\w+)/g, '{$1}').replace('*', '{path}')
/** HEAD too, where it is served without a route of its own. */
const methodsOf = ({ method, isOpen, hasHead }: Route) => (isOpen || hasHead ? [method, 'HEAD'] : [method])
const nameOf = ({ method, path }: Route) => `${method} ${path}`

const CONDITIONS = ['If-None-Match', 'If-Modified-Since', 'Range', 'If-Range', 'Accept-Encoding']

// biome-ignore lint/suspicious/noExplicitAny: the document is compared with what the routes say.
const documentOf = async (): Promise<any> => (await (await startHttp()).get('/openapi.json')).json

describe('the OpenAPI document', () => {
  it('has every route that is served, and no other', async () => {
    const { paths, openapi } = await documentOf()
    expect(openapi).toBe('3.1.0')
    const documented = Object.entries(paths).flatMap(([path, operations]) =>
      Object.keys(operations as object).map((method) => `${method.toUpperCase()} ${path}`),
    )
    const served = routes.flatMap((route) =>
      methodsOf(route).map((method) => `${method} ${templateOf(route)}`),
    )
    expect(documented.sort()).toEqual(served.sort())
  })

  it('names each operation once', async () => {
    const { paths } = await documentOf()
    const operations = Object.values(paths).flatMap((path) => Object.values(path as object))
    const ids = operations.map(({ operationId }) => operationId)
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

  it.each([
    ['/v1/topics/{topic}/events', 'get', ['Last-Event-ID']],
    ['/v1/topics/{topic}/partitions/{partition}/events', 'get', ['Last-Event-ID']],
    ['/v1/chunks/{topicId}/{partition}/{chunk}', 'get', CONDITIONS],
    ['/v1/chunks/{topicId}/{partition}/{chunk}', 'head', CONDITIONS],
    ['/v1/topics/{topic}/records', 'post', ['Millrace-Header-NAME', 'ce-specversion', 'Idempotency-Key']],
    ['/v1/topics', 'post', ['Idempotency-Key']],
    ['/v1/groups/{group}/jobs/claim', 'post', []],
  ])('names the headers that matter to %s, %s', async (path, method, names) => {
    const { parameters } = (await documentOf()).paths[path][method]
    const inHeaders = parameters.filter((parameter: { in: string }) => parameter.in === 'header')
    expect(inHeaders.map(({ name }: { name: string }) => name)).toEqual(names)
  })

  it('names every header of a request that streams look at', async () => {
    const source = await readFile('broker/http/streams/stream-request.ts', 'utf8')
    const lookedAt = [...source.matchAll(/'((?:stream|producer)-[a-z-]+)'/g)].map((match) => match[1])
    expect(lookedAt.length).toBeGreaterThan(8)
    const { put, post } = (await documentOf()).paths['/v1/stream/{path}']
    const named = [...put.parameters, ...post.parameters].map(({ name }) => name.toLowerCase())
    for (const name of lookedAt) expect(named, name).toContain(name)
  })
})

const pathOf = ({ path }: Route): string => path.replace(':partition', '0').replace(/:\w+|\*/g, 'x')

function bodyOf(method: Method): object {
  return method === 'GET' || method === 'DELETE' ? {} : { body: {} }
}
