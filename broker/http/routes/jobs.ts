import { HARD_LIMITS } from '../../../protocol/limits.js'
import type { HttpContext } from '../context.js'
import { readToken } from '../job-token.js'
import type { Settled, Settlement } from '../jobs.js'
import { timeAsText } from '../record-text.js'
import { whenClosed } from '../response-end.js'
import { jsonRoute, type Route } from '../route.js'
import { isoTime, list, object, optional, text, uint } from '../shape.js'
import { groupName, topicNamed } from './names.js'
import { recordFields } from './read-records.js'

const params = { group: groupName }
const tokens = list(text({ charsMax: 256 }), { max: 1_000, about: 'Of the jobs, as claiming gave them.' })
const token = text({ charsMax: 256 })
const refused = list(
  object({ token, code: text({ charsMax: 64, about: 'LEASE_LOST: others may have it.' }) }),
  {
    about: "Those that are not this worker's any more; all others are done, durably.",
  },
)

const DEFAULT_LEASE_MS = 30_000
const DEFAULT_DELIVERIES = 5
const MAX_JOBS = 1_000

const claimJobs = jsonRoute({
  method: 'POST',
  path: '/v1/groups/:group/jobs/claim',
  id: 'claimJobs',
  summary: 'Claim jobs of a work queue, waiting for them if asked to',
  about:
    'A job is the record of a topic that nobody else of the group has until its lease ends. The group is made if it is not there, at ' +
    'the start of the topic; its first worker decides on `leaseMs` and `maxDeliveries`. Any process may settle a job that has its token.',
  params,
  isMutation: true,
  // Jobs whose answer was lost come back when their leases end.
  hasOwnRetries: true,
  body: {
    json: object({
      topic: text({ charsMax: 1024 }),
      max: optional(uint({ min: 1, max: MAX_JOBS, about: 'At most so many jobs; default 1.' })),
      wait: optional(
        uint({ max: HARD_LIMITS.maxWaitMsMax, about: 'Milliseconds to wait for a job; default 0.' }),
      ),
      leaseMs: optional(uint({ min: 100, max: HARD_LIMITS.jobMsMax, about: `Default ${DEFAULT_LEASE_MS}.` })),
      maxDeliveries: optional(
        uint({
          min: 1,
          max: 1_000_000,
          about: `Then a job is a dead letter; default ${DEFAULT_DELIVERIES}.`,
        }),
      ),
    }),
  },
  answers: {
    200: {
      about: 'The jobs, none if there were none in time.',
      content: {
        'application/json': object({
          jobs: list(
            object({
              token,
              deliveryCount: uint({ about: 'The number of this delivery: 1 for the first.' }),
              deadline: isoTime('When the lease ends.'),
              record: object(recordFields),
            }),
          ),
        }),
      },
    },
  },
  errors: [
    'ILLEGAL_GROUP_NAME',
    'UNKNOWN_TOPIC',
    'GROUP_KIND_CONFLICT',
    'ILLEGAL_ARGUMENT',
    'LIMIT_REACHED',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, body }, reply) {
    const { max = 1, wait: waitMs = 0, leaseMs = DEFAULT_LEASE_MS, maxDeliveries = DEFAULT_DELIVERIES } = body
    const gone = new AbortController()
    const abort = (): void => gone.abort()
    const undo = context.drain.whenDraining(abort)
    whenClosed(reply.raw, abort)
    const topic = topicNamed(context, body.topic)
    const claim = { group: params.group, topic, max, waitMs, leaseMs, maxDeliveries, signal: gone.signal }
    const jobs = await context.jobs.claim(claim).finally(undo)
    const texts = jobs.map(({ token, deliveryCount, deadline, record }) => {
      const said = JSON.stringify({ token, deliveryCount, deadline: timeAsText(deadline) }).slice(0, -1)
      return `${said},"record":${record}}`
    })
    return reply.type('application/json').send(Buffer.from(`{"jobs":[${texts.join(',')}]}`))
  },
})

const ackJobs = jsonRoute({
  method: 'POST',
  path: '/v1/groups/:group/jobs/ack',
  id: 'ackJobs',
  summary: 'Say that jobs are done: they are not given out again',
  params,
  body: { json: object({ tokens }) },
  answers: { 200: { about: 'What was refused.', content: { 'application/json': object({ refused }) } } },
  errors: ['ILLEGAL_GROUP_NAME', 'STORAGE_FAILED'],
  async handle(context, { params, body }) {
    return refusedOf(await settle(context, { kind: 'ack', group: params.group, ...body }))
  },
})

const nackJobs = jsonRoute({
  method: 'POST',
  path: '/v1/groups/:group/jobs/nack',
  id: 'nackJobs',
  summary: 'Say that jobs have failed: they are given out again, or become dead letters',
  params,
  body: {
    json: object({
      tokens,
      delayMs: optional(
        uint({ max: HARD_LIMITS.jobMsMax, about: 'Until the next delivery; missing: longer each time.' }),
      ),
      reason: optional(text({ charsMax: HARD_LIMITS.reasonCharsMax, about: 'For the dead letter.' })),
    }),
  },
  answers: { 200: { about: 'What was refused.', content: { 'application/json': object({ refused }) } } },
  errors: ['ILLEGAL_GROUP_NAME', 'STORAGE_FAILED'],
  async handle(context, { params, body }) {
    const { tokens, delayMs, reason } = body
    return refusedOf(
      await settle(context, { kind: 'nack', group: params.group, tokens, ms: delayMs, reason }),
    )
  },
})

const extendJobs = jsonRoute({
  method: 'POST',
  path: '/v1/groups/:group/jobs/extend',
  id: 'extendJobs',
  summary: 'Keep jobs for longer',
  params,
  body: { json: object({ tokens, ms: uint({ min: 1, max: HARD_LIMITS.jobMsMax, about: 'From now on.' }) }) },
  answers: {
    200: {
      about: 'When the leases end now, and what was refused.',
      content: {
        'application/json': object({ refused, deadlines: list(object({ token, deadline: isoTime() })) }),
      },
    },
  },
  errors: ['ILLEGAL_GROUP_NAME', 'STORAGE_FAILED'],
  async handle(context, { params, body }) {
    const settled = await settle(context, { kind: 'extend', group: params.group, ...body })
    const deadlines = settled.deadlines.map(({ token, deadline }) => ({
      token,
      deadline: timeAsText(deadline),
    }))
    return { ...refusedOf(settled), deadlines }
  },
})

/** Work queues for workers that have no connection. */
export const jobRoutes: readonly Route[] = [claimJobs, ackJobs, nackJobs, extendJobs]

interface Asked extends Pick<Settlement, 'kind' | 'group'> {
  readonly tokens: readonly string[]
  readonly ms?: number | undefined
  readonly reason?: string | undefined
}

/** Served while the broker drains: what is settled now is not done twice. */
function settle({ jobs }: HttpContext, { kind, group, tokens, ms, reason }: Asked): Promise<Settled> {
  const read = [...new Set(tokens)].map(readToken)
  return jobs.settle({ kind, group, tokens: read, ms: ms ?? null, reason: reason ?? null })
}

const refusedOf = ({ refused }: Settled): { refused: Settled['refused'] } => ({ refused })
