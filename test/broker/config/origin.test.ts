import { describe, expect, it } from 'vitest'
import { type OriginPolicy, originFault } from '../../../broker/config/origin.js'

const own: OriginPolicy = { allowedOrigins: [], ownHosts: ['Broker.example'] }
const isAllowed = (
  origin: string | undefined,
  host: string | undefined,
  policy: Partial<OriginPolicy> = {},
): boolean => originFault({ origin, host }, { ...own, ...policy }) === undefined

describe('the origin check', () => {
  it('lets programs in, which send no origin', () => {
    expect(isAllowed(undefined, 'anything')).toBe(true)
  })

  it('lets pages of the same host in, whatever the port and scheme', () => {
    expect(isAllowed('http://localhost:5173', 'localhost:4600')).toBe(true)
    expect(isAllowed('http://127.0.0.1', '127.0.0.1:4600')).toBe(true)
    expect(isAllowed('http://[::1]:3000', '[::1]:4600')).toBe(true)
    expect(isAllowed('https://192.168.1.9', '192.168.1.9:4600')).toBe(true)
    expect(isAllowed('https://broker.example', 'BROKER.example:4600')).toBe(true)
  })

  it('keeps pages of other hosts out', () => {
    expect(isAllowed('https://evil.example', 'localhost:4600')).toBe(false)
    expect(isAllowed('http://localhost:5173', '127.0.0.1:4600')).toBe(false)
    expect(isAllowed('http://localhost.evil.example', 'localhost:4600')).toBe(false)
    expect(isAllowed('http://localhost', undefined)).toBe(false)
  })

  it('keeps a page out that had its own name pointed at this machine', () => {
    expect(isAllowed('http://evil.example:4600', 'evil.example:4600')).toBe(false)
  })

  it('keeps opaque and unreadable origins out', () => {
    for (const origin of ['null', '', 'http://', 'http://[broken', 'localhost', 'file:///etc', 'data:,x']) {
      expect(isAllowed(origin, 'localhost:4600'), origin).toBe(false)
    }
    expect(isAllowed('http://localhost', '/')).toBe(false)
  })

  it('lets listed origins in, and only exactly those', () => {
    const policy = { allowedOrigins: ['https://app.example', 'http://dev.example:8080/'] }
    expect(isAllowed('https://app.example', 'x', policy)).toBe(true)
    expect(isAllowed('https://app.example:443', 'x', policy)).toBe(true)
    expect(isAllowed('http://dev.example:8080', 'x', policy)).toBe(true)
    expect(isAllowed('http://app.example', 'x', policy)).toBe(false)
    expect(isAllowed('https://app.example:8443', 'x', policy)).toBe(false)
    expect(isAllowed('https://sub.app.example', 'x', policy)).toBe(false)
    expect(isAllowed('data:,x', 'x', { allowedOrigins: ['data:,y'] })).toBe(false)
  })

  it('lets every page in with *', () => {
    expect(isAllowed('null', 'x', { allowedOrigins: ['*'] })).toBe(true)
  })

  it('names the page in its answer without the control characters it may hold', () => {
    const fault = originFault({ origin: 'http://a\r\nSet-Cookie: x', host: 'y' }, own)
    expect(fault).toContain('http://a??Set-Cookie:?x')
  })
})
