import { crc32 } from '#crc32'
import { type EntryHeader, entryBytes, entryHeaderFault, entryPayload } from './entry.js'
import { entrySection } from './entry-section.js'

/**
 * Why the whole entry at `position`, whose header is `header`, does not verify; undefined when it does. What its section
 * says is not looked at: see sectionFault.
 */
export function entryFault(source: Uint8Array, header: EntryHeader, position = 0): string | undefined {
  return entryHeaderFault(source, position) ?? entryBodyFault(source, header, position)
}

/** As entryFault, for an entry whose header was checked. */
export function entryBodyFault(source: Uint8Array, header: EntryHeader, position = 0): string | undefined {
  if (source.length - position < entryBytes(header)) return 'an entry is cut short'
  const section = entrySection(source, header, position)
  if (crc32(section) !== header.sectionCrc) return "the CRC of an entry's section does not match"
  if (crc32(entryPayload(source, header, position)) !== header.payloadCrc) {
    return "the CRC of an entry's payload does not match"
  }
  return undefined
}
