import { PassThrough, Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Output, OutputClosed } from '../../../broker/cli/output.js'

describe('the output of a command', () => {
  it('makes a write wait while the reader is a megabyte behind', async () => {
    const stream = new PassThrough()
    const output = new Output(stream)
    await output.write('first\n')
    let done = false
    const writing = output.write(Buffer.alloc(2 * 1024 * 1024)).then(() => {
      done = true
    })
    await new Promise(setImmediate)
    expect(done).toBe(false)
    stream.resume()
    await writing
  })

  it('ends with OutputClosed, also in a write that waits, when the reader goes', async () => {
    let fail: (error: Error) => void = () => {}
    const stream = new Writable({
      write(_chunk, _encoding, callback) {
        fail = callback
      },
    })
    const output = new Output(stream)
    const writing = output.write(Buffer.alloc(2 * 1024 * 1024))
    fail(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    await expect(writing).rejects.toBeInstanceOf(OutputClosed)
    await expect(output.failure).rejects.toBeInstanceOf(OutputClosed)
    await expect(output.write('x')).rejects.toBeInstanceOf(OutputClosed)
    await expect(output.flush()).rejects.toBeInstanceOf(OutputClosed)
  })

  it('passes other failures on as they are', async () => {
    const output = new Output(
      new Writable({
        write: (_chunk, _encoding, callback) =>
          callback(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
      }),
    )
    await expect(output.write('x').then(() => output.flush())).rejects.toThrow('no space')
  })
})
