import { openApiDocument } from '../openapi.js'
import { type Route, route } from '../route.js'

/** The description of the other routes. */
export function openApiRoutes(routes: readonly Route[], { version }: { version: string }): readonly Route[] {
  let document: Buffer | undefined
  const own: Route = route({
    method: 'GET',
    path: '/openapi.json',
    id: 'openApi',
    summary: 'This document',
    answers: { 200: { about: 'OpenAPI 3.1.', content: { 'application/json': undefined } } },
    handle(_context, _request, reply) {
      document ??= Buffer.from(JSON.stringify(openApiDocument([...routes, own], { version })))
      return reply.type('application/json').send(document)
    },
  })
  return [own]
}
