/** What a chunk's bytes cost at least: a fastify server that streams one file with createReadStream. */
import { createReadStream } from 'node:fs'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'

const [path = ''] = process.argv.slice(2)
const server = Fastify({ logger: false, forceCloseConnections: true })
server.get('/file', (_request, reply) => reply.type('application/octet-stream').send(createReadStream(path)))
await server.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${JSON.stringify({ port: (server.server.address() as AddressInfo).port })}\n`)
process.on('SIGTERM', () => process.exit(0))
