import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import { UnsentPages } from '../../../broker/http/unsent-pages.js'

const response = () =>
  Object.assign(new EventEmitter(), { req: { socket: new EventEmitter() } }) as unknown as ServerResponse

describe('pages on their way', () => {
  it('make the next ones small past the cap, until they are sent', () => {
    const pages = new UnsentPages({ bytesMax: 1_000_000 })
    const [one, two] = [response(), response()]
    expect(pages.readBytesMax(4_000_000)).toBe(4_000_000)
    pages.add(600_000, one)
    expect(pages.readBytesMax(4_000_000)).toBe(4_000_000)
    pages.add(400_000, two)
    expect(pages.readBytesMax(4_000_000)).toBe(64 * 1024)
    expect(pages.readBytesMax(1_000)).toBe(1_000)
    one.emit('close')
    expect([pages.bytes, pages.readBytesMax(4_000_000)]).toEqual([400_000, 4_000_000])
    two.emit('close')
    expect(pages.bytes).toBe(0)
  })
})
