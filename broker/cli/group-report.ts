import type { GroupDescription } from '../../client/index.js'
import { count } from './count.js'
import { columns, NONE } from './table.js'

/** Members are told apart by so much of their id. */
const memberIdChars = 8

/** A group as people read it: its state, its members, its partitions, its dead letters. */
export function describeGroup(group: GroupDescription): string {
  const { name, kind, isActive, members, epoch } = group
  const noun = kind === 'queue' ? 'work queue' : 'consumer group'
  const reports = [`group ${name}: ${noun}, ${isActive ? 'active' : 'without members'}, epoch ${epoch}\n`]
  if (members.length > 0) {
    const rows = members.map((m) => [
      shortId(m.memberId),
      m.clientName,
      m.connected ? 'connected' : 'away',
      m.partitions,
    ])
    reports.push(columns([['MEMBER', 'CLIENT', 'STATE', 'PARTITIONS'], ...rows]))
  }
  if (group.partitions.length > 0) reports.push(partitionTable(group))
  if (group.partitionsLeft > 0) {
    reports.push(`and ${count(group.partitionsLeft, 'partition')} more: name a topic with --topic\n`)
  }
  const letters = group.deadLetters.filter(({ records }) => records > 0)
  if (letters.length > 0) {
    const rows = letters.map(({ topic, dlqTopic, records }) => [topic, records, dlqTopic])
    reports.push(columns([['TOPIC', 'DEAD LETTERS', 'KEPT IN'], ...rows]))
  }
  return reports.join('\n')
}

function partitionTable({ kind, partitions }: GroupDescription): string {
  const isQueue = kind === 'queue'
  const heading = ['TOPIC', 'PARTITION', 'CURSOR', 'END', 'LAG', 'BYTES', 'SECONDS']
  const rows = partitions.map((p) => [
    p.topic,
    p.partition,
    p.hasCursor ? p.position : NONE,
    p.endOffset,
    p.lag.records,
    p.lag.bytes,
    Math.ceil(p.lag.seconds),
    ...(isQueue ? [p.leased, p.ready] : [p.memberId === null ? NONE : shortId(p.memberId)]),
  ])
  return columns([[...heading, ...(isQueue ? ['LEASED', 'RETRY'] : ['MEMBER'])], ...rows])
}

const shortId = (memberId: string): string => memberId.slice(0, memberIdChars)
