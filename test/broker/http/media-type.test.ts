import { describe, expect, it } from 'vitest'
import { accepted, mediaTypeOf } from '../../../broker/http/media-type.js'

const OFFERS = ['application/json', 'application/x-ndjson'] as const

describe('content negotiation', () => {
  it.each([
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['application/*', 'application/json'],
    ['application/x-ndjson', 'application/x-ndjson'],
    ['Application/X-NDJSON; q=0.5, */*;q=0.1', 'application/x-ndjson'],
    ['application/json;q=0, */*', 'application/x-ndjson'],
    ['text/html, application/x-ndjson;q=0.9, application/json;q=0.8', 'application/x-ndjson'],
  ])('for %j answers with %s', (accept, expected) => {
    expect(accepted(accept, OFFERS)).toBe(expected)
  })

  it.each(['text/html', 'application/json;q=0, application/x-ndjson;q=0', 'application/json;q=x'])(
    'for %j has nothing',
    (accept) => {
      expect(() => accepted(accept, OFFERS)).toThrow(expect.objectContaining({ code: 'NOT_ACCEPTABLE' }))
    },
  )
})

describe('a Content-Type', () => {
  it('is read without its parameters, whatever its case', () => {
    expect(mediaTypeOf('Application/JSON; charset="utf-8"')).toBe('application/json')
    expect(mediaTypeOf(undefined)).toBeUndefined()
  })

  it.each(['json', 'a/b/c', 'a /b', '/', 'text/'])('is refused where it is none: %j', (type) => {
    expect(() => mediaTypeOf(type)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_MEDIA_TYPE' }))
  })
})
