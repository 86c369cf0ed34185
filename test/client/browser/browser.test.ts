import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../../broker/index.js'
import { connect, defineTopic, text } from '../../../client/index.js'
import { until } from '../../support/until.js'
import { CHUNK_BYTES, isSealed } from '../history-fixture.js'

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
const isMissing = !existsSync(CHROMIUM)
if (isMissing && !process.env.CI) console.warn(`skipped: there is no Chromium at ${CHROMIUM} (CHROMIUM_PATH)`)

const pageFile = fileURLToPath(new URL('./page.ts', import.meta.url))

// On a build server a missing browser is a failure, not a reason to skip.
describe.skipIf(isMissing && !process.env.CI)('in a browser', () => {
  let server: Server
  let broker: Broker
  let browser: Browser
  let script = ''
  let origin = ''
  const dataDir = mkdtempSync(join(tmpdir(), 'millrace-browser-'))

  beforeAll(async () => {
    // As an application's bundler would: `millrace` by its published name, for browsers. Needs the build.
    const { outputFiles } = await build({
      entryPoints: [pageFile],
      bundle: true,
      write: false,
      platform: 'browser',
      format: 'iife',
      target: 'es2022',
    })
    script = outputFiles[0]?.text ?? ''
    server = createServer((request, response) => {
      const isScript = request.url === '/page.js'
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
      // No eval, as on a page that cares.
      response.setHeader(
        'content-security-policy',
        "default-src 'self'; connect-src ws://127.0.0.1:* http://127.0.0.1:*",
      )
      response.end(isScript ? script : '<!doctype html><script src="/page.js"></script>')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    broker = await startBroker({
      dataDir,
      port: 0,
      allowedOrigins: [origin],
      logLevel: 'silent',
      chunkBytes: CHUNK_BYTES,
    })
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  }, 60_000)

  afterAll(async () => {
    await browser?.close()
    await broker?.close()
    server?.close()
    rmSync(dataDir, { recursive: true, force: true })
  })

  it('the client has nothing of Node in it', () => {
    expect(script).not.toMatch(/require\("(ws|node:)/)
    expect(script).not.toContain('perMessageDeflate')
  })

  it('the client writes and reads every encoding, compressed and not, under a strict CSP', async () => {
    const page = await browser.newPage()
    const errors: string[] = []
    page.on('pageerror', (error) => errors.push(error.message))
    await page.goto(origin)
    const result = await page.evaluate(async (url) => {
      const { millracePage } = globalThis as unknown as { millracePage(url: string): Promise<unknown> }
      return millracePage(url)
    }, broker.url)
    const encodings = ['text', 'text', 'json', 'json', 'msgpack', 'msgpack', 'bytes', 'bytes']
    expect(result).toEqual({
      samples: encodings.map((encoding) => ({ encoding, isSame: true })),
      followed: 'followed',
      code: 'UNKNOWN_TOPIC',
    })
    expect(errors).toEqual([])
    await page.close()
  })

  it("the client reads history over HTTP, and again out of the browser's cache", async () => {
    const client = connect(broker.url)
    const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
    await client.createTopic(Lines)
    const values = Array.from({ length: 300 }, (_, i) => `${i} `.padEnd(1_000, '.'))
    const producer = client.producer(Lines, { batchBytes: 4_096 })
    await producer.sendBatch(values.map((value) => ({ key: null, value })))
    await client.close()
    const served = (): number => broker.metrics.snapshot().counters.chunksServed
    const httpUrl = broker.url.replace('ws:', 'http:')
    await until(() => isSealed({ httpUrl, topic: 'lines', chunkBytes: CHUNK_BYTES }))
    const page = await browser.newPage()
    await page.goto(origin)
    const read = () =>
      page.evaluate(async (url) => {
        const { millraceHistory } = globalThis as unknown as {
          millraceHistory(url: string): Promise<unknown>
        }
        return millraceHistory(url)
      }, broker.url)
    const all = { offsets: values.map((_, i) => i), fallbacks: [] }
    expect(await read()).toEqual(all)
    expect(served()).toBeGreaterThan(0)
    // A chunk may be sealed between two readings, or a browser too busy to keep what it was given.
    await until(async () => {
      const before = served()
      expect(await read()).toEqual(all)
      return served() === before
    })
    await page.close()
  })
})
