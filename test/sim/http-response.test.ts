import { describe, expect, test } from 'vitest'
import { HttpResponse } from './http-response.js'

const answers = {
  'with a length': ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab\r\nc', 'ab\r\nc'],
  'in pieces': [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n',
    'ab\r\n0123456789a',
  ],
  'without a body': ['HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n', ''],
} as const

describe('an answer over HTTP', () => {
  test.each(Object.entries(answers))('%s is read however it is cut', (_, [text, body]) => {
    for (let bytes = 1; bytes <= text.length; bytes++) {
      let got = ''
      const response = new HttpResponse({ isHead: false, onBody: (piece) => (got += piece.toString()) })
      for (let at = 0; at < text.length; at += bytes) {
        expect(response.isWhole).toBe(false)
        response.take(Buffer.from(text.slice(at, at + bytes)))
      }
      expect([response.isWhole, got]).toEqual([true, body])
      expect(() => response.take(Buffer.from('x'))).toThrow('not asked')
    }
  })

  test('to HEAD says how long a body would be, and has none', () => {
    const response = new HttpResponse({ isHead: true, onBody: () => {} })
    response.take(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'))
    expect(response.isWhole).toBe(true)
    expect(response.head?.headers.get('content-length')).toBe('5')
  })
})
