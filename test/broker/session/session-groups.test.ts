import { expect, it } from 'vitest'
import type { GroupsFace } from '../../../broker/groups/groups-face.js'
import { SessionGroups } from '../../../broker/session/session-groups.js'
import { memberIdFrom } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { noGroups } from '../../support/no-groups.js'

type Options = ReturnType<ConstructorParameters<typeof SessionGroups>[1]>

const idOf = (number: number) => memberIdFrom(number.toString(16).padStart(32, '0'))

it('lets one connection speak for so many members, and for another when one has left', async () => {
  const joined = { groupId: 1, epoch: 1, sessionTimeoutMs: 1000, leaseMs: 0, maxDeliveries: 0, time: 0 }
  const face: GroupsFace = { ...noGroups, join: async () => joined, leave: async () => {} }
  const heartbeat = { require: () => () => {}, silentMs: () => 0 } as unknown as Options['heartbeat']
  const rotation = { leave: () => {} } as unknown as Options['rotation']
  const outbox = {} as Options['outbox']
  const groups = new SessionGroups(face, () => ({ outbox, rotation, heartbeat, clientName: 'test' }))
  let answers = 0
  const join = (number: number): Promise<void> =>
    groups.join({ memberId: idOf(number) } as Parameters<SessionGroups['join']>[0], () => void answers++)
  const { membersPerConnectionMax } = HARD_LIMITS
  // Those that are still on their way in count.
  const joins = Array.from({ length: membersPerConnectionMax + 1 }, (_, i) => join(i))
  const outcomes = await Promise.allSettled(joins)
  expect(outcomes.map(({ status }) => status).filter((status) => status === 'fulfilled')).toHaveLength(
    membersPerConnectionMax,
  )
  expect(outcomes.at(-1)).toMatchObject({ reason: { code: 'LIMIT_REACHED' } })
  await expect(join(5000)).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
  await groups.leave({ groupId: 1, memberId: idOf(3) })
  await join(5000)
  expect(answers).toBe(membersPerConnectionMax + 1)
})
