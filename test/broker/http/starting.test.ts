import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { startBroker } from '../../../broker/broker.js'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { connect } from '../../../client/index.js'
import { until } from '../../support/until.js'
import { atEnd, newDirectory } from './harness.js'

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  const server = createServer()
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

describe('a broker that starts', () => {
  it('answers from the first moment that it is not ready, then serves, WebSockets too', async () => {
    let recover = (): void => {}
    const recovering = new Promise<void>((resolve) => {
      recover = resolve
    })
    const port = await freePort()
    const starting = startBroker(
      { dataDir: await newDirectory(), port, logLevel: 'silent' },
      {
        openStore: async (options) => {
          await recovering
          return LmdbStore.open(options)
        },
      },
    )
    const codeOf = async (path: string): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`)
      const text = await response.text()
      return `${response.status} ${text.startsWith('{') ? (JSON.parse(text).error?.code ?? '') : text.trim()}`
    }
    await until(() => codeOf('/livez').then(Boolean, () => false))
    expect(await codeOf('/livez')).toBe('200 ok')
    expect(await codeOf('/readyz')).toBe('503 NOT_READY')
    expect(await codeOf('/v1/topics')).toBe('503 NOT_READY')
    // A client that comes too early tries again by itself.
    const client = connect(`ws://127.0.0.1:${port}`)
    atEnd(() => client.close())
    const topics = client.listTopics()
    await new Promise((resolve) => setTimeout(resolve, 300))
    recover()
    const broker = await starting
    atEnd(() => broker.close())
    expect(broker.port).toBe(port)
    expect(await codeOf('/readyz')).toBe('200 ok')
    expect(await codeOf('/v1/topics')).toBe('200 ')
    expect((await topics).map(({ name }) => name)).toEqual(['_millrace.changes'])
  })

  it('lets the port go when it cannot recover', async () => {
    const port = await freePort()
    const options = { dataDir: await newDirectory(), port, logLevel: 'silent' as const }
    const failing = startBroker(options, { openStore: () => Promise.reject(new Error('no store')) })
    await expect(failing).rejects.toThrow('no store')
    const broker = await startBroker(options)
    expect(broker.port).toBe(port)
    await broker.close()
  })

  it('refuses a port that is taken, and lets its directory go', async () => {
    const dataDir = await newDirectory()
    const first = await startBroker({ dataDir: await newDirectory(), port: 0, logLevel: 'silent' })
    atEnd(() => first.close())
    const taken = startBroker({ dataDir, port: first.port, logLevel: 'silent' })
    await expect(taken).rejects.toMatchObject({ code: 'EADDRINUSE' })
    const second = await startBroker({ dataDir, port: 0, logLevel: 'silent' })
    await second.close()
  })
})
