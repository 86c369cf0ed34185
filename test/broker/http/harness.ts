import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Broker, type Platform, startBroker } from '../../../broker/broker.js'
import type { BrokerOptions } from '../../../broker/config/schema.js'
import { BrokerHealth } from '../../../broker/http/health.js'
import { HttpFace } from '../../../broker/http/http-server.js'
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from '../../../broker/http/limits.js'
import { systemClock } from '../../../broker/platform/clock.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { systemRandom } from '../../../broker/platform/random.js'
import { ERROR_CODES, isErrorCode } from '../../../protocol/error-codes.js'
import { atEndOf } from '../../support/ends.js'
import type { FakeShard } from '../../support/fake-shard.js'
import { noChunks } from '../../support/no-chunks.js'
import { noGroups } from '../../support/no-groups.js'
import { noStreams } from '../../support/no-streams.js'
import { until } from '../../support/until.js'
import { bodyFault, type Document, nameOf, templateOf } from './document.js'

/** Of a file's tests that ask for nothing special: starting one for each would take longer than all the rest. */
let shared: Promise<HttpBroker> | undefined

/** Closed after the test. */
export function atEnd(close: () => Promise<unknown>): void {
  atEndOf('test', close)
}

export interface Asked {
  readonly headers?: Readonly<Record<string, string>>
  /** An object or list is sent as JSON. */
  readonly body?: string | Uint8Array | object
}

export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly bytes: Buffer
  readonly text: string
  /** Undefined where it is no JSON. */
  readonly json: Answer | undefined
}

/** What a test looks into: it says itself what it expects. */
// biome-ignore lint/suspicious/noExplicitAny: a test compares it with what it expects.
type Answer = any

export class HttpBroker {
  readonly broker: Broker
  readonly dataDir: string
  readonly #agent = new Agent({ keepAlive: true })
  /** Every answer that was held to the document: method, template, status and type. */
  readonly seen = new Set<string>()
  #document: Document | undefined

  constructor(broker: Broker, dataDir: string) {
    this.broker = broker
    this.dataDir = dataDir
  }

  get port(): number {
    return this.broker.port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Asks, and holds the answer to the OpenAPI document: its status and its body must be what that tells of, an error of the one shape. */
  async ask(method: string, path: string, asked: Asked = {}): Promise<Answered> {
    const answered = await this.askPlainly(method, path, asked)
    await this.#check(method, path, answered)
    return answered
  }

  get(path: string, asked: Asked = {}): Promise<Answered> {
    return this.ask('GET', path, asked)
  }

  post(path: string, body?: Asked['body'], headers: Asked['headers'] = {}): Promise<Answered> {
    return this.ask('POST', path, body === undefined ? { headers } : { body, headers })
  }

  /** Without a look at the document. */
  askPlainly(method: string, path: string, { headers = {}, body }: Asked = {}): Promise<Answered> {
    const isRaw = typeof body === 'string' || body instanceof Uint8Array
    const bytes =
      body === undefined ? undefined : isRaw ? Buffer.from(body) : Buffer.from(JSON.stringify(body))
    const own: Record<string, string> = {
      ...(bytes === undefined ? {} : { 'content-length': String(bytes.length) }),
      ...(body === undefined || isRaw ? {} : { 'content-type': 'application/json' }),
      ...headers,
    }
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: '127.0.0.1', port: this.port, method, path, headers: own, agent: this.#agent },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            const bytes = Buffer.concat(chunks)
            const { statusCode: status = 0, headers } = response
            resolve({ status, headers, bytes, text: bytes.toString(), json: parsed(bytes) })
          })
        },
      )
      request.on('error', reject)
      request.end(bytes)
    })
  }

  /** A bare connection. */
  async connect(): Promise<Socket> {
    const socket = connect(this.port, '127.0.0.1')
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    atEnd(async () => socket.destroy())
    return socket
  }

  /** Sends bytes as they are; what came back when the peer closed, or when `enough` says so. */
  async exchange(bytes: string | Buffer, enough: (text: string) => boolean = () => false): Promise<string> {
    const socket = await this.connect()
    let text = ''
    let isClosed = false
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1')
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      isClosed = true
    })
    socket.write(bytes)
    await until(() => isClosed || enough(text))
    socket.destroy()
    return text
  }

  async createTopic(name: string, options: object = {}): Promise<void> {
    const { status, text } = await this.post('/v1/topics', { name, ...options })
    if (status !== 201) throw new Error(`topic ${name}: ${status} ${text}`)
  }

  /** Offsets of all partitions together: how many records there are. */
  async recordsIn(topic: string): Promise<number> {
    const { json } = await this.get(`/v1/topics/${topic}`)
    return json.partitions.reduce((sum: number, p: Answer) => sum + p.endOffset - p.startOffset, 0)
  }

  /** Deletes all topics. */
  async clear(): Promise<void> {
    const { topics } = (await this.askPlainly('GET', '/v1/topics?limit=1000')).json
    for (const { name } of topics) await this.askPlainly('DELETE', `/v1/topics/${name}`)
  }

  async #check(method: string, path: string, answered: Answered): Promise<void> {
    const { status, json, headers, text } = answered
    const shown = `${method} ${path}: ${status} ${text.slice(0, 300)}`
    if (typeof headers['x-request-id'] !== 'string') throw new Error(`no X-Request-Id: ${shown}`)
    if (status >= 400 && method !== 'HEAD')
      checkError(json, { status, shown, requestId: headers['x-request-id'] })
    this.#document ??= (await this.askPlainly('GET', '/openapi.json')).json as Document
    const template = templateOf(this.#document, path)
    const operation = this.#document.paths[template ?? '']?.[method.toLowerCase()]
    if (operation === undefined) {
      if (![204, 400, 403, 404, 405, 431].includes(status)) throw new Error(`not documented: ${shown}`)
      return
    }
    const response = operation.responses[status]
    if (response === undefined) throw new Error(`the document does not tell of this status: ${shown}`)
    this.seen.add(`${method} ${template} ${nameOf(answered)}`)
    // What a HEAD would have answered has no body either.
    if (method === 'HEAD') return
    if (status >= 400 && !response.description.includes(json.error.code) && !path.startsWith('/readyz'))
      throw new Error(`the document does not tell of this error: ${shown}`)
    const fault = bodyFault(this.#document, response, answered)
    if (fault !== undefined) throw new Error(`the document says otherwise: ${fault}: ${shown}`)
  }
}

function checkError(
  json: Answer,
  { status, shown, requestId }: { status: number; shown: string; requestId: string },
): void {
  const error = json?.error
  const isShaped =
    typeof error?.message === 'string' &&
    typeof error.retriable === 'boolean' &&
    isErrorCode(error.code) &&
    error.requestId === requestId
  if (!isShaped) throw new Error(`not the shape of errors: ${shown}`)
  const expected = ERROR_CODES[error.code as keyof typeof ERROR_CODES].httpStatus
  if (status !== expected && status !== 503)
    throw new Error(`not the catalogue's status ${expected}: ${shown}`)
}

function parsed(bytes: Buffer): Answer | undefined {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

/**
 * A whole broker without topics. With options it has a directory of its own, and both are gone after the test; without, it is
 * the file's own.
 */
export async function startHttp(
  options?: BrokerOptions,
  platform: Partial<Platform> = {},
): Promise<HttpBroker> {
  if (options === undefined) {
    shared ??= startShared()
    const http = await shared
    atEnd(() => http.clear())
    return http
  }
  const http = await start({ dataDir: await newDirectory(), ...options }, platform)
  atEnd(() => http.broker.close())
  return http
}

async function start(
  options: BrokerOptions & { readonly dataDir: string },
  platform?: Partial<Platform>,
): Promise<HttpBroker> {
  const broker = await startBroker({ port: 0, logLevel: 'silent', drainMs: 500, ...options }, platform)
  return new HttpBroker(broker, options.dataDir)
}

async function startShared(): Promise<HttpBroker> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-http-'))
  const http = await start({ dataDir })
  atEndOf('file', async () => {
    shared = undefined
    await http.broker.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  return http
}

/** Gone after the test. */
export async function newDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-http-'))
  atEnd(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** The HTTP face alone, closed after the test: before a shard in memory, or before none, as while a broker recovers. */
export async function startFace(
  shard?: FakeShard,
  {
    isDiskFull = () => false,
    limits = {},
  }: { isDiskFull?: () => boolean; limits?: Partial<HttpLimits> } = {},
): Promise<{ face: HttpFace; health: BrokerHealth; port: number }> {
  const health = new BrokerHealth({ isDiskFull })
  const face = new HttpFace({
    log: pino({ level: 'silent' }),
    clock: systemClock,
    random: systemRandom,
    metrics: new MemoryMetrics(),
    limits: { ...DEFAULT_HTTP_LIMITS, ...limits },
    origins: { allowedOrigins: [], ownHosts: [] },
    version: '0',
    health,
  })
  await face.listen({ host: '127.0.0.1', port: 0 })
  atEnd(() => face.close({ drainMs: 0 }))
  if (shard !== undefined)
    face.serve({
      shard,
      groups: noGroups,
      streams: noStreams,
      partitionSizes: () => undefined,
      sealed: noChunks,
    })
  return { face, health, port: (face.server.address() as AddressInfo).port }
}
