import { describe, expect, it } from 'vitest'
import { bytesFromHex, hexFromBytes } from '../../protocol/ids.js'

describe('an id', () => {
  it('is 16 bytes or 32 hex digits, either way', () => {
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => i * 17)
    expect(hexFromBytes(bytes)).toBe('00112233445566778899aabbccddeeff')
    expect(bytesFromHex('00112233445566778899aabbccddeeff')).toEqual(bytes)
    expect(bytesFromHex('00112233445566778899AABBCCDDEEFF')).toEqual(bytes)
  })

  it('is read and written at a place inside other bytes', () => {
    const target = new Uint8Array(20).fill(0xee)
    bytesFromHex('000102030405060708090a0b0c0d0e0f', target, 2)
    expect([...target]).toEqual([
      0xee, 0xee, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xee, 0xee,
    ])
    expect(hexFromBytes(target, 2)).toBe('000102030405060708090a0b0c0d0e0f')
  })

  it('is its own, however many others begin as it does', () => {
    const ids = Array.from({ length: 5_000 }, (_, i) =>
      Buffer.from(`${i % 3}id ${String(i).padStart(12, '0')}`),
    )
    for (const round of [1, 2])
      for (const id of ids) expect(hexFromBytes(id), `round ${round}`).toBe(id.toString('hex'))
    expect(hexFromBytes(new Uint8Array(16))).toBe('0'.repeat(32))
  })

  it('refuses what is not 32 hex digits', () => {
    const good = '00112233445566778899aabbccddeeff'
    const bad = ['', good.slice(1), `${good}0`, `g${good.slice(1)}`, `${good.slice(1)}/`, `${good.slice(1)}:`]
    bad.push(`${good.slice(1)}@`, `${good.slice(1)}\``, `${good.slice(1)} `, `${good.slice(1)}\u0131`)
    for (const hex of bad) expect(() => bytesFromHex(hex), hex).toThrow('an id has 32 hex digits')
  })
})
