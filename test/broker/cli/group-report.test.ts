import { describe, expect, it } from 'vitest'
import { describeGroup } from '../../../broker/cli/group-report.js'
import type { GroupDescription } from '../../../client/index.js'

const ada = 'ada0ada0ada0ada0ada0ada0ada0ada0'
const part = {
  topic: 'orders',
  partition: 0,
  hasCursor: true,
  position: 10,
  startOffset: 0,
  endOffset: 14,
  lag: { records: 4, bytes: 400, seconds: 1.001 },
  memberId: ada,
  leased: 0,
  ready: 0,
  movedAt: 1,
}
const group: GroupDescription = {
  name: 'billing',
  kind: 'consumer',
  isActive: true,
  epoch: 7,
  members: [{ memberId: ada, clientName: 'worker-1', connected: true, partitions: 1 }],
  partitions: [part, { ...part, partition: 1, hasCursor: false, position: 0, memberId: null }],
  partitionsLeft: 0,
  deadLetters: [],
}

const lines = (...expected: string[]): string => `${expected.join('\n')}\n`

describe('the report on a group', () => {
  it('shows members and partitions, and seconds rounded up, so that none behind looks like none', () => {
    expect(describeGroup(group)).toBe(
      lines(
        'group billing: consumer group, active, epoch 7',
        '',
        'MEMBER    CLIENT    STATE      PARTITIONS',
        'ada0ada0  worker-1  connected           1',
        '',
        'TOPIC   PARTITION  CURSOR  END  LAG  BYTES  SECONDS  MEMBER',
        'orders          0      10   14    4    400        2  ada0ada0',
        'orders          1       -   14    4    400        2  -',
      ),
    )
  })

  it('says when it is not the whole', () => {
    expect(describeGroup({ ...group, members: [], partitions: [], partitionsLeft: 2 })).toBe(
      'group billing: consumer group, active, epoch 7\n\nand 2 partitions more: name a topic with --topic\n',
    )
  })

  it('shows what a work queue has out and what waits for a retry, and its dead letters', () => {
    const queue: GroupDescription = {
      ...group,
      kind: 'queue',
      isActive: false,
      members: [],
      partitions: [{ ...part, memberId: null, leased: 3, ready: 1 }],
      deadLetters: [
        { topic: 'orders', dlqTopic: 'orders.billing.dlq', records: 2 },
        { topic: 'refunds', dlqTopic: 'refunds.billing.dlq', records: 0 },
      ],
    }
    expect(describeGroup(queue)).toBe(
      lines(
        'group billing: work queue, without members, epoch 7',
        '',
        'TOPIC   PARTITION  CURSOR  END  LAG  BYTES  SECONDS  LEASED  RETRY',
        'orders          0      10   14    4    400        2       3      1',
        '',
        'TOPIC   DEAD LETTERS  KEPT IN',
        'orders             2  orders.billing.dlq',
      ),
    )
  })
})
