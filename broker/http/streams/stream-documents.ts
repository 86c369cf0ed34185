/** Headers of requests and answers about streams, as the OpenAPI document has them. */
export const PUT_HEADERS = {
  'Stream-TTL': 'Seconds that it lives after an access.',
  'Stream-Expires-At': 'When it ends: instead of Stream-TTL.',
  'Stream-Closed': '`true`: closed from the first.',
  'Stream-Forked-From': 'The path or URL of the stream that it is a fork of.',
  'Stream-Fork-Offset': 'Where it leaves that; missing: at its end.',
  'Stream-Fork-Sub-Offset': 'Values, or bytes, behind that offset which it takes along.',
}

export const APPEND_HEADERS = {
  'Producer-Id': 'Who writes: with Producer-Epoch and Producer-Seq.',
  'Producer-Epoch': 'Counts up when the producer begins anew.',
  'Producer-Seq': 'Counts the writes of the epoch, from 0.',
  'Stream-Seq': 'Must be greater, as text, than that of any write before.',
  'Stream-Closed': '`true`: the stream is closed with this write.',
}

export const READ_HEADERS = {
  'If-None-Match': 'Entity tags that the client has: 304 where one is that of these bytes.',
  'Accept-Encoding': '`gzip`, or not.',
}

export const STREAM_HEADERS = {
  'Stream-Next-Offset': 'Where to go on: behind what was written, or read.',
  'Stream-Closed': '`true`: nothing comes behind it any more.',
}

export const PAGE_HEADERS = {
  ...STREAM_HEADERS,
  'Stream-Up-To-Date': '`true` when there is no more for now.',
  'Stream-Cursor': 'Of a long-poll: to be sent with the next one, as `cursor`.',
  ETag: 'Names these bytes, as they are written.',
  'Content-Encoding': '`gzip` for whoever prefers it, where it makes the page smaller.',
  Vary: '`Accept-Encoding, Origin`',
}

export const PRODUCER_HEADERS = {
  ...STREAM_HEADERS,
  'Producer-Epoch': "The producer's epoch.",
  'Producer-Seq': 'The last of its writes that is there.',
}
