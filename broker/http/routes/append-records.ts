import { HARD_LIMITS } from '../../../protocol/limits.js'
import { RECORD_FORMS, recordsIn } from '../record-forms.js'
import { timeAsText } from '../record-text.js'
import { type Route, rawRoute } from '../route.js'
import { bool, isoTime, list, object, optional, text, uint } from '../shape.js'
import { topicName, topicNamed } from './names.js'

const appendRecords = rawRoute({
  method: 'POST',
  path: '/v1/topics/:topic/records',
  id: 'appendRecords',
  summary: 'Append one record or many',
  about:
    'All of a request is written or none, and it is durable before the answer. Bodies may be JSON or MessagePack (a record or ' +
    'a list of them), NDJSON (a record a line), the bytes of one value, or CloudEvents in binary or structured mode.',
  params: { topic: topicName },
  query: {
    key: optional(text({ charsMax: 65_536, about: 'Of a record whose value is the body.' })),
    timestamp: optional(uint({ about: 'Milliseconds since 1970, of a record whose value is the body.' })),
    partition: optional(uint({ max: HARD_LIMITS.uint32Max, about: 'Of a record whose value is the body.' })),
    dedupId: optional(
      text({ charsMax: HARD_LIMITS.dedupIdCharsMax, about: 'Of a record whose value is the body.' }),
    ),
    expectedOffset: optional(
      uint({ about: 'Written only if the first record gets this offset; for records of one partition.' }),
    ),
  },
  requestHeaders: {
    'Millrace-Header-NAME': 'A header of a record whose value is the body: one for each NAME.',
    'ce-specversion': '`1.0`: a CloudEvent in binary mode; its other attributes are in headers `ce-NAME`.',
  },
  isMutation: true,
  body: { raw: RECORD_FORMS },
  answers: {
    200: {
      about: 'All records are durable, or were before.',
      content: {
        'application/json': object({
          appendTime: isoTime(),
          records: list(
            object({
              partition: uint(),
              offset: uint(),
              duplicate: bool(
                'It was not written now: a record of its dedupId is there already, at this partition and offset.',
              ),
            }),
            { about: 'In the order of the request.' },
          ),
        }),
      },
    },
  },
  errors: [
    'ILLEGAL_TOPIC_NAME',
    'UNKNOWN_TOPIC',
    'UNKNOWN_PARTITION',
    'TOPIC_READ_ONLY',
    'STREAM_CLOSED',
    'STREAM_DELETED',
    'ENCODING_MISMATCH',
    'ILLEGAL_ARGUMENT',
    'RECORD_TOO_LARGE',
    'BATCH_TOO_LARGE',
    'ATOMIC_TOO_LARGE',
    'EXPECTED_OFFSET_CONFLICT',
    'DEDUP_FULL',
    'BACKPRESSURE',
    'DISK_FULL',
    'STORAGE_FAILED',
  ],
  async handle(context, { params, query, body, raw, headers, requestId, isRepeatable }) {
    const { clock, metrics, producers, backend } = context
    const startMs = clock.monotonic()
    const topic = topicNamed(context, params.topic)
    const { expectedOffset, ...ofRecord } = query
    const records = recordsIn({ ...body, headers, query: ofRecord }, topic)
    const written = await producers.write({
      shard: backend.shard,
      topic,
      records,
      socket: raw.socket,
      requestId,
      isRepeatable,
      expectedOffset,
      now: clock.now(),
      bytes: body.bytes.length,
    })
    metrics.observe('produceMs', clock.monotonic() - startMs)
    return { appendTime: timeAsText(written.appendTime), records: written.records }
  },
})

/** Appending records. */
export const appendRoutes: readonly Route[] = [appendRecords]
