import { describe, expect, it } from 'vitest'
import { Turns } from '../../../broker/groups/turns.js'

describe('turns', () => {
  it('let what concerns one name happen in order, after a failure too, and other names meanwhile', async () => {
    const turns = new Turns()
    const log: string[] = []
    let finish = (): void => {}
    const first = turns.run('a', async () => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      log.push('a1')
      throw new Error('a1 fails')
    })
    const second = turns.run('a', async () => log.push('a2'))
    await turns.run('b', async () => log.push('b'))
    expect(log).toEqual(['b'])
    finish()
    await expect(first).rejects.toThrow('a1 fails')
    await second
    expect(log).toEqual(['b', 'a1', 'a2'])
  })

  it('begin at once when nothing is before them', () => {
    const log: string[] = []
    void new Turns().run('a', async () => log.push('a'))
    expect(log).toEqual(['a'])
  })
})
