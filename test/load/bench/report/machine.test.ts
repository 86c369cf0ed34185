import { describe, expect, it } from 'vitest'
import { mountOf } from '../../../../load/bench/report/machine.js'

const MOUNTS = `/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/data xfs rw 0 0
`

describe('the disk of a directory', () => {
  it('is the innermost mount that holds it', () => {
    expect(mountOf(MOUNTS, '/tmp/data/a')).toEqual({ device: '/dev/vdb', filesystem: 'xfs' })
    expect(mountOf(MOUNTS, '/tmp/database')).toEqual({ device: 'tmpfs', filesystem: 'tmpfs' })
    expect(mountOf(MOUNTS, '/home')).toEqual({ device: '/dev/vda', filesystem: 'ext4' })
  })

  it('is not guessed where the system does not say', () => {
    expect(mountOf('', '/home')).toEqual({ device: undefined, filesystem: undefined })
  })
})
