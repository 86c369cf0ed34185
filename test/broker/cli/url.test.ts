import { describe, expect, it } from 'vitest'
import { brokerUrl } from '../../../broker/cli/url.js'

describe("the broker's address", () => {
  it('comes from --url before MILLRACE_URL before this machine', () => {
    const env = { MILLRACE_URL: 'wss://there' }
    expect(brokerUrl('ws://here', env)).toBe('ws://here')
    expect(brokerUrl(undefined, env)).toBe('wss://there')
    expect(brokerUrl(undefined, {})).toBe('ws://127.0.0.1:4600')
    expect(brokerUrl(undefined, { MILLRACE_URL: '' })).toBe('ws://127.0.0.1:4600')
  })

  it('is refused by the name of its source when it is no WebSocket URL', () => {
    expect(() => brokerUrl('http://here', {})).toThrow('--url is "http://here", but must be an address')
    expect(() => brokerUrl(undefined, { MILLRACE_URL: 'here' })).toThrow(
      'MILLRACE_URL is "here", but must be',
    )
  })
})
