import { MillraceError } from '../../protocol/error-codes.js'
import { ManifestCorruption } from './corruption.js'

/**
 * The manifest format that this version writes. Any change of the schema that an older broker cannot read adds 1.
 * - 1: topics, partitions, chunks, producers, requests.
 * - 2: groups, cursors, queues, dedup ids and answers; options of topics. Rows of format 1 are rows of format 2 whose
 *   new fields are missing, so the step from 1 to 2 writes the format's row and nothing else, with the first flush.
 * - 3: streams and their producers; rows of format 2 are rows of format 3.
 */
export const MANIFEST_FORMAT = 3

/** Throws unless a manifest of this format can be read. A newer one is no damage: the error says to use a newer broker. */
export function checkFormat(format: number): void {
  if (format >= 1 && format <= MANIFEST_FORMAT) return
  if (format < 1)
    throw new ManifestCorruption({ keyspace: 'format', reason: `there is no manifest format ${format}` })
  throw new MillraceError('UNSUPPORTED_VERSION', {
    message: `the manifest was written by a newer Millrace: it has format ${format}, this version reads up to ${MANIFEST_FORMAT}`,
  })
}
