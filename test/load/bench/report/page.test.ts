import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { pageWith } from '../../../../load/bench/report/page.js'
import { plotsOf } from '../../../../load/bench/report/plots.js'
import { sampleReport } from './sample-report.js'

const PAGE = 'before\n<!-- bench begin -->\nof an earlier run\n<!-- bench end -->\nafter\n'

describe('the page of figures', () => {
  it('gets table, hardware, peers and plots between its marks, and nothing elsewhere', () => {
    const page = pageWith(PAGE, sampleReport, ['bench-bars.svg'])
    expect(page).toMatch(/^before\n<!-- bench begin -->\n/)
    expect(page).toMatch(/\n<!-- bench end -->\nafter\n$/)
    expect(page).not.toContain('of an earlier run')
    expect(page).toContain('2 x A processor, 16 GiB, Linux 6.1, ext4 on /dev/vda; Node v20.20.0')
    expect(page).toContain('| durable | 420 (410 to 430) MB/s |')
    expect(page).toContain('- Redis 7.0.15: appendfsync always')
    expect(page).toContain('Not measured: RabbitMQ (cannot be started here).')
    expect(page).toContain('Failed in queue: Redis: <gone>')
    expect(page).toContain('![bars](bench-bars.svg)')
  })

  it('has a section for each command, which do not overwrite each other', () => {
    const both = `${PAGE}<!-- bench:limits begin -->\n<!-- bench:limits end -->\n`
    const one = pageWith(both, sampleReport, [])
    const two = pageWith(
      one,
      { ...sampleReport, section: 'bench:limits', command: 'npm run bench:limits' },
      [],
    )
    expect(two).toContain('`npm run bench`')
    expect(two).toContain('`npm run bench:limits`')
  })

  it('can be written again', () => {
    const once = pageWith(PAGE, sampleReport, [])
    expect(pageWith(once, sampleReport, [])).toBe(once)
  })

  it('is refused without its marks', () => {
    expect(() => pageWith('no marks', sampleReport, [])).toThrow('the page has no <!-- bench begin -->')
  })

  it('is docs/PERFORMANCE.md', () => {
    const page = readFileSync(new URL('../../../../docs/PERFORMANCE.md', import.meta.url), 'utf8')
    for (const section of ['bench', 'bench:limits'] as const) {
      expect(() => pageWith(page, { ...sampleReport, section }, [])).not.toThrow()
    }
  })
})

describe('the plots', () => {
  it('are those whose figures were taken, and one of all bars', () => {
    const plots = plotsOf(sampleReport)
    expect([...plots.keys()]).toEqual(['bench-bars.svg', 'bench-throughput.svg', 'bench-queue.svg'])
    expect(plots.get('bench-bars.svg')).toContain('durable / floor twice')
    // What was not measured has no bar.
    expect(plots.get('bench-bars.svg')).not.toContain('jobs / Redis')
    expect(plots.get('bench-bars.svg')).toContain('class="missed"')
  })

  it('come to the same in JSON and back: the file holds all they need', () => {
    expect(plotsOf(JSON.parse(JSON.stringify(sampleReport)))).toEqual(plotsOf(sampleReport))
  })
})
