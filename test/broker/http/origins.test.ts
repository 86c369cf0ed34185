import { describe, expect, it } from 'vitest'
import type { Document } from './document.js'
import { startHttp } from './harness.js'

const outcome = ({ status, json }: { status: number; json: { error?: { code: string } } | undefined }) =>
  json?.error === undefined ? status : [status, json.error.code]

const refused = [403, 'ORIGIN_REFUSED']

describe('the page that asks', () => {
  it.each([
    ['a stranger', 'https://evil.example'],
    ['nobody, as sandboxed pages say', 'null'],
    ['not even an origin', '::'],
  ])('when it is %s may neither read nor write', async (_who, origin) => {
    const http = await startHttp()
    await http.createTopic('a')
    expect(outcome(await http.get('/v1/topics', { headers: { origin } }))).toEqual(refused)
    // What a form or a plain fetch can send without asking first.
    for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded']) {
      const answer = await http.post('/v1/topics/a/records', '{"value":1}', { origin, 'content-type': type })
      expect(outcome(answer)).toEqual(refused)
    }
    expect(outcome(await http.ask('DELETE', '/v1/topics/a', { headers: { origin } }))).toEqual(refused)
    const asked = { origin, 'access-control-request-method': 'POST' }
    expect(outcome(await http.ask('OPTIONS', '/v1/topics', { headers: asked }))).toEqual(refused)
    expect(await http.recordsIn('a')).toBe(0)
  })

  it('whose name was pointed here after it had loaded may neither read nor write', async () => {
    const http = await startHttp()
    await http.createTopic('a')
    const host = `evil.example:${http.port}`
    // To the browser this is the page's own server: its reads carry no Origin at all.
    expect(outcome(await http.get('/v1/topics', { headers: { host } }))).toEqual(refused)
    expect(outcome(await http.get('/metrics', { headers: { host } }))).toEqual(refused)
    const headers = { host, origin: `http://${host}` }
    expect(outcome(await http.post('/v1/topics/a/records', { value: 1 }, headers))).toEqual(refused)
    expect(await http.recordsIn('a')).toBe(0)
  })

  it('is asked for no host name where there is nothing to read', async () => {
    const http = await startHttp()
    for (const path of ['/livez', '/readyz']) {
      const headers = { host: 'evil.example', origin: 'https://evil.example' }
      expect((await http.get(path, { headers })).status).toBe(200)
    }
  })

  it('may ask by an address, by localhost, and by a name of the local network', async () => {
    const http = await startHttp()
    for (const host of [
      `127.0.0.1:${http.port}`,
      'localhost:1',
      '[::1]:4600',
      'millrace:4600',
      'a.localhost',
    ])
      expect(outcome(await http.get('/v1/topics', { headers: { host } }))).toBe(200)
  })

  it('may ask by a name that the broker was started with', async () => {
    const http = await startHttp({ allowedHosts: ['broker.example.com'] })
    const host = 'broker.example.com:4600'
    expect(outcome(await http.get('/v1/topics', { headers: { host } }))).toBe(200)
    expect(outcome(await http.get('/v1/topics', { headers: { host: 'x.example.com' } }))).toEqual(refused)
  })

  it('on the same host may write, but is not told of it: CORS is off', async () => {
    const http = await startHttp()
    const headers = { origin: 'http://127.0.0.1:5173', host: `127.0.0.1:${http.port}` }
    const answer = await http.get('/v1/topics', { headers })
    expect(answer.status).toBe(200)
    expect(answer.headers['access-control-allow-origin']).toBeUndefined()
  })

  it('that sends no origin but comes from another site, as its browser says, may change nothing', async () => {
    const http = await startHttp()
    const headers = { 'sec-fetch-site': 'cross-site' }
    expect(outcome(await http.post('/v1/topics', { name: 'a' }, headers))).toEqual(refused)
    expect(outcome(await http.get('/v1/topics', { headers }))).toBe(200)
  })
})

describe('CORS', () => {
  const origin = 'https://app.example.com'

  it('is on for the origins that were named: reads, writes and what comes before a write', async () => {
    const http = await startHttp({ allowedOrigins: [origin] })
    const preflight = await http.ask('OPTIONS', '/v1/topics', {
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type, idempotency-key',
      },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-headers': 'content-type, idempotency-key',
      'access-control-max-age': '600',
      vary: 'Origin',
    })
    expect(preflight.headers['access-control-allow-methods']).toContain('PATCH')
    const created = await http.post('/v1/topics', { name: 'a' }, { origin })
    expect(created.status).toBe(201)
    expect(created.headers['access-control-allow-origin']).toBe(origin)
    const read = await http.get('/v1/topics/a/partitions/0/records', { headers: { origin } })
    expect(read.headers['access-control-expose-headers']).toContain('Millrace-Next-Offset')
    expect(read.headers.vary).toContain('Origin')
    const wrong = await http.get('/v1/topics/b', { headers: { origin } })
    expect([wrong.status, wrong.headers['access-control-allow-origin']]).toEqual([404, origin])
    expect(outcome(await http.get('/v1/topics', { headers: { origin: 'https://evil.example' } }))).toEqual(
      refused,
    )
  })

  it('lets such pages read every header that an answer is documented to have', async () => {
    const http = await startHttp({ allowedOrigins: [origin] })
    const { headers, json } = await http.get('/openapi.json', { headers: { origin } })
    const exposed = String(headers['access-control-expose-headers']).split(', ')
    expect(new Set(exposed).size).toBe(exposed.length)
    const operations = Object.values((json as Document).paths).flatMap((path) => Object.values(path))
    const answers = operations.flatMap(({ responses }) => Object.values(responses))
    const told = answers
      .flatMap(({ headers = {} }) => Object.keys(headers))
      // These a page may read always, or has no use for.
      .filter((name) => !['Cache-Control', 'Last-Modified', 'Vary', 'Content-Encoding'].includes(name))
    expect(told.length).toBeGreaterThan(20)
    for (const name of told) expect(exposed, name).toContain(name)
  })

  it('is on for every page where that was asked for', async () => {
    const http = await startHttp({ allowedOrigins: ['*'] })
    const { status, headers } = await http.get('/v1/topics', { headers: { origin: 'https://any.example' } })
    expect([status, headers['access-control-allow-origin']]).toEqual([200, 'https://any.example'])
  })
})
