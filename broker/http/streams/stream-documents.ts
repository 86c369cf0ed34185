/** Headers of answers about streams, as the OpenAPI document has them. */
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
