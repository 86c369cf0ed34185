import { MillraceError } from '../../protocol/error-codes.js'
import { ManifestCorruption } from './corruption.js'

/** The manifest format that this version writes. Any change of the schema that an older broker cannot read adds 1. */
export const MANIFEST_FORMAT = 1

/**
 * Throws unless a manifest of this format can be read. A newer one is no damage: the error says to use a newer broker.
 * When format 2 comes, the step from 1 to 2 stands here and runs as one commit before the load.
 */
export function checkFormat(format: number): void {
  if (format === MANIFEST_FORMAT) return
  if (format < 1)
    throw new ManifestCorruption({ keyspace: 'format', reason: `there is no manifest format ${format}` })
  throw new MillraceError('UNSUPPORTED_VERSION', {
    message: `the manifest was written by a newer Millrace: it has format ${format}, this version reads up to ${MANIFEST_FORMAT}`,
  })
}
