import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { eventsTo, type Logger, type LogTarget, openLog } from '../../broker/log.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-log-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

/** What stands in the file right after the call: nothing is waited for. */
async function logged(target: Omit<LogTarget, 'descriptor'>, write: (log: Logger) => void): Promise<string> {
  const path = join(directory, 'log')
  const descriptor = openSync(path, 'w')
  const log = await openLog({ ...target, descriptor })
  write(log)
  const text = readFileSync(path, 'utf8')
  closeSync(descriptor)
  return text
}

describe('the log', () => {
  it('is one JSON object a line for programs', async () => {
    const text = await logged({ level: 'info', pretty: false }, (log) => log.info({ port: 4600 }, 'ready'))
    expect(JSON.parse(text)).toEqual({ level: 'info', time: expect.any(String), port: 4600, msg: 'ready' })
    expect(Date.parse(JSON.parse(text).time)).toBeGreaterThan(0)
  })

  it('is one readable line for people, written before the call returns', async () => {
    const text = await logged({ level: 'info', pretty: true }, (log) =>
      log.warn({ host: '::' }, 'no authentication'),
    )
    expect(text).toMatch(/^\[\d\d:\d\d:\d\d\.\d+\].*WARN.*no authentication/)
    expect(text.trim().split('\n')).toHaveLength(1)
  })

  it('leaves out what is below its level', async () => {
    const text = await logged({ level: 'warn', pretty: false }, (log) => {
      log.info('quiet')
      log.error('loud')
    })
    expect(text).toContain('loud')
    expect(text).not.toContain('quiet')
  })

  it('holds how many records an event was about', async () => {
    const text = await logged({ level: 'info', pretty: false }, (log) =>
      eventsTo(log).truncation?.({
        topic: 't',
        partition: 0,
        reason: 'request',
        startOffset: 12,
        records: 12,
        bytes: 345,
      }),
    )
    expect(JSON.parse(text)).toMatchObject({ event: 'truncation', records: 12, bytes: 345 })
  })

  it.each([false, true])('never holds records, whatever is passed to it (pretty: %s)', async (pretty) => {
    const secret = 'attack at dawn'
    const text = await logged({ level: 'info', pretty }, (log) => {
      log.info({ value: secret, payload: secret, credential: secret }, 'fields')
      log.info({ batch: { records: [secret], headers: { note: secret } } }, 'nested')
      log.info({ frame: Buffer.from(secret) }, 'bytes')
      log.child({ token: secret }).info('bound')
    })
    expect(text).toContain('bytes')
    expect(text).toContain('[14 bytes]')
    expect(text).not.toContain(secret)
    expect(text).not.toContain(Buffer.from(secret).join(','))
  })
})
