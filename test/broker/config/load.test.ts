import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigError } from '../../../broker/config/config-error.js'
import { type ConfigSources, loadConfig, resolveOptions } from '../../../broker/config/load.js'
import { SETTING_NAMES, SETTINGS } from '../../../broker/config/settings.js'

const MIB = 1024 * 1024

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-config-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

function writeConfig(content: unknown): string {
  const path = join(directory, 'millrace.json')
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

function faultOf(sources: ConfigSources): string {
  try {
    loadConfig({ directory, ...sources })
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    const { message } = error as ConfigError
    expect(message).not.toContain('\n')
    return message
  }
  throw new Error('the configuration was accepted')
}

describe('loading the configuration', () => {
  it('gives every setting its default, and the data directory as an absolute path', () => {
    const defaults = Object.fromEntries(SETTING_NAMES.map((name) => [name, SETTINGS[name].default]))
    expect(loadConfig({ directory })).toEqual({ ...defaults, dataDir: join(directory, 'millrace-data') })
  })

  it('prefers flags to the environment, the environment to the file, and the file to the defaults', () => {
    const file = writeConfig({ port: 1, proofIdleMs: 1, manifestFlushMs: 1 })
    const env = { MILLRACE_PORT: '2', MILLRACE_PROOF_IDLE_MS: '2' }
    const config = loadConfig({ directory, file, env, flags: { port: '3' } })
    expect(config).toMatchObject({ port: 3, proofIdleMs: 2, manifestFlushMs: 1, heartbeatMs: 15_000 })
  })

  it('reads sizes, durations, counts, lists and levels as people write them', () => {
    const env = {
      MILLRACE_WAL_SEGMENT_BYTES: '128MiB',
      MILLRACE_CHUNK_BYTES: '4194304',
      MILLRACE_TAIL_CACHE_BYTES: '1.5 gb',
      MILLRACE_CHUNK_MAX_AGE_MS: '2h',
      MILLRACE_HEARTBEAT_MS: '1500',
      MILLRACE_CONNECTIONS_MAX: '20_000',
      MILLRACE_ALLOWED_ORIGINS: 'https://App.example.com/, http://localhost:5173',
      MILLRACE_LOG_LEVEL: 'debug',
    }
    expect(loadConfig({ directory, env })).toMatchObject({
      walSegmentBytes: 128 * MIB,
      chunkBytes: 4 * MIB,
      tailCacheBytes: 1536 * MIB,
      chunkMaxAgeMs: 7_200_000,
      heartbeatMs: 1500,
      connectionsMax: 20_000,
      allowedOrigins: ['https://app.example.com', 'http://localhost:5173'],
      logLevel: 'debug',
    })
  })

  it('takes numbers, texts and arrays from the file, and a data directory relative to the file', () => {
    const file = writeConfig({ dataDir: 'data', port: 0, chunkBytes: '1mb', allowedOrigins: ['*'] })
    const config = loadConfig({ directory: '/', file })
    expect(config).toMatchObject({
      dataDir: join(directory, 'data'),
      port: 0,
      chunkBytes: MIB,
      allowedOrigins: ['*'],
    })
  })

  it('finds the file through the environment, from the current directory', () => {
    writeConfig({ port: 4711 })
    expect(loadConfig({ directory, env: { MILLRACE_CONFIG: 'millrace.json' } }).port).toBe(4711)
  })

  it('takes an empty variable for an unset one', () => {
    expect(loadConfig({ directory, env: { MILLRACE_PORT: '', MILLRACE_CONFIG: '' } }).port).toBe(4600)
  })

  it('is not misled by the variables that Kubernetes sets beside a service named millrace', () => {
    const env = {
      MILLRACE_PORT: 'tcp://10.0.0.7:4600',
      MILLRACE_SERVICE_HOST: '10.0.0.7',
      MILLRACE_SERVICE_PORT: '4600',
      MILLRACE_PORT_4600_TCP_ADDR: '10.0.0.7',
    }
    expect(loadConfig({ directory, env })).toMatchObject({ port: 4600, host: '127.0.0.1' })
  })

  it('lets variables be that belong to something else', () => {
    expect(
      loadConfig({ directory, env: { MILLRACE_URL: 'ws://elsewhere', MILLRACE_BACKUP_TARGET: 'x' } }).port,
    ).toBe(4600)
  })
})

describe('a bad configuration', () => {
  const cases: [what: string, sources: () => ConfigSources, message: string][] = [
    ['a flag', () => ({ flags: { port: 'http' } }), 'flag --port: "http" must be a port number'],
    [
      'a value past its bounds',
      () => ({ flags: { port: '65536' } }),
      'flag --port: "65536" must be between 0 and 65535',
    ],
    [
      'a variable',
      () => ({ env: { MILLRACE_WAL_SEGMENT_BYTES: '12 parsecs' } }),
      'environment variable MILLRACE_WAL_SEGMENT_BYTES: "12 parsecs" must be a size such as 64MiB or 67108864',
    ],
    [
      'a variable below its bounds',
      () => ({ env: { MILLRACE_HEARTBEAT_MS: '1ms' } }),
      'environment variable MILLRACE_HEARTBEAT_MS: "1ms" must be between 100 ms and 10 min',
    ],
    [
      'a misspelt variable',
      () => ({ env: { MILLRACE_DATADIR: '/srv' } }),
      'environment variable MILLRACE_DATADIR is not a setting; did you mean MILLRACE_DATA_DIR?',
    ],
    [
      'a fraction of a byte',
      () => ({ flags: { chunkBytes: '0.3' } }),
      'flag --chunk-bytes: "0.3" must be a size such as 64MiB or 67108864',
    ],
    [
      'an origin with a path',
      () => ({ flags: { allowedOrigins: 'https://a.example/app' } }),
      'flag --allowed-origins: "https://a.example/app" must be a list of origins such as https://app.example.com, or *',
    ],
    [
      'a level',
      () => ({ flags: { logLevel: 'loud' } }),
      'flag --log-level: "loud" must be one of silent, fatal, error, warn, info, debug, trace',
    ],
    [
      'a misspelt key of the file',
      () => ({ file: writeConfig({ walSegmentByte: 1 }) }),
      'file <file>: "walSegmentByte" is not a setting; did you mean walSegmentBytes?',
    ],
    [
      'an unknown key of the file',
      () => ({ file: writeConfig({ sharding: true }) }),
      'file <file>: "sharding" is not a setting; docs/CONFIGURATION.md lists them',
    ],
    [
      'a value of the file',
      () => ({ file: writeConfig({ walBytesMax: true }) }),
      'file <file>: walBytesMax: true must be a size such as 64MiB or 67108864',
    ],
    [
      'a file that is not there',
      () => ({ file: 'gone.json' }),
      'file <directory>/gone.json: cannot be read (ENOENT)',
    ],
    [
      'a file that holds a list',
      () => ({ file: writeConfig([]) }),
      'file <file>: must hold one JSON object with the settings',
    ],
  ]

  it.each(cases)('is refused in one line that names the source: %s', (_what, sources, message) => {
    const expected = message
      .replace('<file>', join(directory, 'millrace.json'))
      .replace('<directory>', directory)
    expect(faultOf(sources())).toBe(expected)
  })

  it('is refused when the file is not JSON', () => {
    expect(faultOf({ file: writeConfig('{ "port": 4600, }') })).toContain('millrace.json: is not JSON: ')
  })
})

describe('settings that contradict each other', () => {
  const cases: [flags: NonNullable<ConfigSources['flags']>, message: string][] = [
    [
      { recordBytesMax: '4MiB' },
      'batchBytesMax (--batch-bytes-max) is 4 MiB, but must be at least 4097 KiB: ',
    ],
    [
      { batchBytesMax: '8MiB' },
      'frameBytesMax (--frame-bytes-max) is 8 MiB, but must be at least 8193 KiB: ',
    ],
    [{ inFlightBytesPerConnection: '1MiB' }, 'inFlightBytesPerConnection '],
    [{ inFlightBytes: '8MiB' }, 'inFlightBytes '],
    [{ walBacklogBytes: '1MiB' }, 'walBacklogBytes '],
    [
      { walSegmentBytes: '4MiB' },
      'walSegmentBytes (--wal-segment-bytes) is 4 MiB, but must be at least 5184 KiB: ',
    ],
    [{ walBytesMax: '128MiB' }, 'walBytesMax (--wal-bytes-max) is 128 MiB, but must be at least 256 MiB: '],
    [
      { chunkBytes: '1GiB', walBytesMax: '1GiB' },
      'walBytesMax (--wal-bytes-max) is 1 GiB, but must be at least 2 GiB: ',
    ],
    [{ tailCacheBytes: '1MiB' }, 'tailCacheBytes '],
    [
      { partitionsMax: '5' },
      'partitionsMax (--partitions-max) is 5, but must be at least topicsMax, 10000: ',
    ],
  ]

  it.each(cases)('are refused: %j', (flags, message) => {
    expect(faultOf({ flags })).toContain(message)
  })

  it('are not refused when they are small but agree', () => {
    const flags = {
      recordBytesMax: '1k',
      batchBytesMax: '4k',
      frameBytesMax: '16k',
      groupBytesMax: '4k',
      walSegmentBytes: '128k',
      walBytesMax: '512k',
      chunkBytes: '16k',
      tailCacheBytes: '16k',
    }
    expect(loadConfig({ directory, flags })).toMatchObject({ walBytesMax: 512 * 1024 })
  })
})

describe('the options of an embedding program', () => {
  it('are completed with the defaults', () => {
    const config = resolveOptions({ dataDir: 'here', port: 0 })
    expect(config).toEqual({ ...loadConfig({}), dataDir: resolve('here'), port: 0 })
  })

  it('are checked as every other source is', () => {
    expect(() => resolveOptions({ port: -1 })).toThrow('option port: -1 must be between 0 and 65535')
    expect(() => resolveOptions({ batchBytesMax: 8 * MIB })).toThrow('frameBytesMax')
    expect(() => resolveOptions({ portt: 1 } as object)).toThrow(
      'option portt is not a setting; did you mean port?',
    )
  })

  it('may leave a setting undefined', () => {
    expect(resolveOptions({ port: undefined } as object).port).toBe(4600)
  })
})
