import { crc32 } from '#crc32'
import {
  ENTRY_HEADER_BYTES,
  entryBytes,
  entryHeaderFault,
  isEntryOf,
  readEntryHeader,
  readEntryPlace,
} from '../../protocol/entry.js'
import { bytesFromHex } from '../../protocol/ids.js'
import type { SectionAddress } from './section-reader.js'

/**
 * Checks entries of a section while their bytes pass by, in pieces of any size: both CRCs, the owner, the place. It must be fed from
 * the beginning of an entry on.
 */
export class EntryChecker {
  readonly #address: SectionAddress
  readonly #topicId: Uint8Array
  readonly #header = new Uint8Array(ENTRY_HEADER_BYTES)
  #headerFilled = 0
  /** Of the entry: bytes of its section and payload that are still to come, and the CRCs of what came. */
  #sectionLeft = 0
  #payloadLeft = 0
  #crc = 0
  #sectionCrc = 0
  #payloadCrc = 0
  /** The entry's place in the file, and that of the next byte. */
  #entryAt: number
  #position: number
  #nextOffset: number

  constructor(address: SectionAddress, start: { readonly offset: number; readonly position: number }) {
    this.#address = address
    this.#topicId = bytesFromHex(address.topicId)
    this.#entryAt = start.position
    this.#position = start.position
    this.#nextOffset = Math.max(start.offset, address.section.baseOffset)
  }

  /** Bytes that are missing of the entry under way, as far as it is known; 0 between two entries. */
  get missingBytes(): number {
    if (this.#headerFilled === 0) return this.#sectionLeft + this.#payloadLeft
    return ENTRY_HEADER_BYTES - this.#headerFilled
  }

  /** File position of the entry that the last fault is of. */
  get entryAt(): number {
    return this.#entryAt
  }

  /** Why these bytes are not what belongs here; undefined while they may be. */
  feed(bytes: Uint8Array): string | undefined {
    for (let at = 0; at < bytes.length; ) {
      const body = this.#sectionLeft + this.#payloadLeft
      const taken = body > 0 ? this.#feedBody(bytes, at) : this.#feedHeader(bytes, at)
      if (typeof taken === 'string') return taken
      at += taken
      this.#position += taken
    }
    return undefined
  }

  #feedHeader(bytes: Uint8Array, at: number): number | string {
    const wanted = ENTRY_HEADER_BYTES - this.#headerFilled
    const isWhole = wanted === ENTRY_HEADER_BYTES && bytes.length - at >= wanted
    if (this.#headerFilled === 0) this.#entryAt = this.#position
    if (isWhole) return this.#begin(bytes, at) ?? wanted
    const part = bytes.subarray(at, at + wanted)
    this.#header.set(part, this.#headerFilled)
    this.#headerFilled += part.length
    if (part.length < wanted) return part.length
    this.#headerFilled = 0
    return this.#begin(this.#header, 0) ?? part.length
  }

  #begin(source: Uint8Array, at: number): string | undefined {
    const fault = entryHeaderFault(source, at)
    if (fault !== undefined) return fault
    const place = readEntryPlace(source, at)
    const { topicId, partition, section } = this.#address
    if (!isEntryOf(this.#topicId, source, at) || place.partition !== partition)
      return `an entry of ${readEntryHeader(source, at).topicId}/${place.partition} stands in ${topicId}/${partition}`
    const end = place.baseOffset + place.lastOffsetDelta + 1
    if (place.baseOffset < this.#nextOffset || end > section.endOffset)
      return `an entry holds the offsets ${place.baseOffset} to ${end - 1}, out of their place`
    if (this.#entryAt + entryBytes(place) > section.byteEnd) return 'an entry goes past its section'
    this.#nextOffset = end
    this.#sectionLeft = place.sectionBytes
    this.#payloadLeft = place.payloadBytes
    this.#sectionCrc = place.sectionCrc
    this.#payloadCrc = place.payloadCrc
    this.#crc = 0
    return undefined
  }

  #feedBody(bytes: Uint8Array, at: number): number | string {
    const isSection = this.#sectionLeft > 0
    const left = isSection ? this.#sectionLeft : this.#payloadLeft
    const part = bytes.subarray(at, at + left)
    this.#crc = crc32(part, this.#crc)
    if (isSection) this.#sectionLeft -= part.length
    else this.#payloadLeft -= part.length
    if (part.length < left) return part.length
    if (this.#crc !== (isSection ? this.#sectionCrc : this.#payloadCrc))
      return `the CRC of an entry's ${isSection ? 'section' : 'payload'} does not match`
    this.#crc = 0
    return part.length
  }
}
