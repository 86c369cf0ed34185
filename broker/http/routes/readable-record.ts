import { object, optional, text } from '../shape.js'
import { recordFields } from './read-records.js'

/** A record in an answer that cannot end before one that is not what its topic says. */
export const readableRecordFields = {
  ...recordFields,
  error: optional(
    object(
      { code: text({ charsMax: 64 }), message: text({ charsMax: 65_536 }) },
      'Why it cannot be read: its key and value are as they are stored.',
    ),
  ),
}
