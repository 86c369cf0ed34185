import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { pack } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import {
  COMMAND_TYPES,
  type Command,
  decodeCommand,
  encodeCommand,
  OPCODE,
} from '../../../broker/shard/commands.js'
import { bytesFromHex } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import { COMMAND_SAMPLES } from './command-samples.js'

interface CommandVector {
  readonly name: string
  readonly opcode: number
  readonly command: Command
  readonly hex: string
}

const path = fileURLToPath(new URL('../../golden/v1/commands.json', import.meta.url))
const load = (): CommandVector[] => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : [])

function bodyOf(command: Command): Buffer {
  const encoded = encodeCommand(command, 0)
  const body = Buffer.alloc(encoded.byteLength)
  encoded.writeBody(body, 0)
  return body
}

/** With UPDATE_GOLDEN=1, samples that have no vector get one; a vector that is there stays, whatever the code does now. */
function vectors(): CommandVector[] {
  if (process.env.UPDATE_GOLDEN === '1') {
    const known = new Map(load().map((vector) => [vector.name, vector]))
    const all = COMMAND_SAMPLES.map(({ name, command }) => {
      const fresh = { name, opcode: OPCODE[command.type], command, hex: bodyOf(command).toString('hex') }
      return known.get(name) ?? fresh
    })
    writeFileSync(path, `${JSON.stringify(all, undefined, 2)}\n`)
  }
  return load()
}

describe('the commands of the WAL', () => {
  const golden = vectors()

  it('have a vector for every sample, and a sample for every command', () => {
    expect(golden.map(({ name }) => name)).toEqual(COMMAND_SAMPLES.map(({ name }) => name))
    const types = new Set(COMMAND_SAMPLES.map(({ command }) => command.type))
    expect([...types].sort()).toEqual([...COMMAND_TYPES].sort())
  })

  it('have each an opcode of their own', () => {
    const opcodes = Object.values(OPCODE)
    expect([...opcodes].sort((a, b) => a - b)).toEqual(opcodes.map((_, index) => index + 1))
  })

  it.each(golden)('are read as they were written: $name', ({ opcode, command, hex }) => {
    expect(decodeCommand(opcode, Buffer.from(hex, 'hex'))).toEqual(command)
  })

  it.each(golden)('are written as before: $name', ({ opcode, command, hex }) => {
    expect(OPCODE[command.type]).toBe(opcode)
    expect(bodyOf(command).toString('hex')).toBe(hex)
  })

  it('create a topic with the default options where an earlier release wrote none', () => {
    const id = bytesFromHex('0123456789abcdef0123456789abcdef')
    const body = pack([id, 'orders', 4, 2, 1, id])
    expect(decodeCommand(OPCODE.topicCreated, body)).toMatchObject({
      name: 'orders',
      options: DEFAULT_TOPIC_OPTIONS,
      internal: false,
    })
  })

  it('are refused when a later release wrote them', () => {
    expect(() => decodeCommand(26, pack([]))).toThrow(/opcode 26, which this release does not know/)
  })
})
