/** One group of a segment, as a scan finds it: whole, or with what is wrong with it. */
import type { PlantedFault } from '../platform/planted-faults.js'
import { bodyFault } from './command.js'
import { WalCorruption } from './corruption.js'
import {
  alignUp,
  checkGroup,
  claimedBytes,
  type DirectoryRow,
  GROUP_ALIGN_BYTES,
  GROUP_HEADER_BYTES,
  type GroupHeader,
  readGroupHeader,
  resemblesGroup,
} from './group.js'
import type { SegmentWindow } from './segment-window.js'

/** The last group, cut because its write never finished: nobody was told that it was written. */
export interface TornTail {
  readonly file: string
  readonly byteOffset: number
  readonly bytes: number
  readonly reason: string
}

/** `bytes` (padding included) is a view that the next look at the window overwrites. */
export interface FoundGroup {
  readonly header: GroupHeader
  readonly rows: readonly DirectoryRow[]
  readonly bytes: Uint8Array
}

export interface GroupFault {
  readonly fault: string
  /** Of the byte in its segment. */
  readonly at: number
  readonly looksTorn: boolean
  readonly bytes: number
}

/** What must stand there, if anything does. */
export interface Expected {
  readonly walId: string
  readonly sequence: number
  readonly previousCrc: number
  readonly planted: PlantedFault | undefined
}

export const damaged = (
  window: SegmentWindow,
  byteOffset: number,
  sequence: number,
  reason: string,
): WalCorruption =>
  new WalCorruption({ file: window.path, byteOffset, reason: `group ${sequence}: ${reason}` })

/** The header alone. Throws WalCorruption where another group stands. */
export async function readHeader(
  window: SegmentWindow,
  position: number,
  expect: Expected,
): Promise<{ header: GroupHeader } | GroupFault> {
  const head = await window.view(position, GROUP_ALIGN_BYTES)
  const header = readGroupHeader(head, 0, window.segment.salt)
  if (header === undefined) {
    const looksTorn = resemblesGroup(head, 0, expect)
    const bytes = looksTorn ? claimedBytes(head, 0) : 0
    return { fault: 'no valid group begins here', at: position, looksTorn, bytes }
  }
  if (
    header.walId !== expect.walId ||
    header.sequence !== expect.sequence ||
    header.previousCrc !== expect.previousCrc
  ) {
    throw new WalCorruption({
      file: window.path,
      byteOffset: position,
      reason: `group ${header.sequence} stands where group ${expect.sequence} belongs, or it follows another history`,
    })
  }
  return { header }
}

/** All of it, checked. Throws WalCorruption where another group stands. */
export async function readGroup(
  window: SegmentWindow,
  position: number,
  expect: Expected,
): Promise<FoundGroup | GroupFault> {
  const found = await readHeader(window, position, expect)
  if ('fault' in found) return found
  const { header } = found
  const { salt } = window.segment
  const bytes = alignUp(header.bytes)
  const view = await window.view(position, bytes)
  const isTrusting = expect.planted === 'tornTailReplayed'
  if (isTrusting) view.fill(0, header.bytes)
  const checked = checkGroup(view, 0, header, { salt, bodyFault: isTrusting ? () => undefined : bodyFault })
  if ('fault' in checked) return { fault: checked.fault, at: position + checked.at, looksTorn: true, bytes }
  return { header, rows: checked.rows, bytes: view }
}

/** A later group proves that this one had been written: then its damage is no torn write. */
export async function refuseIfProven(
  window: SegmentWindow,
  position: number,
  sequence: number,
  found: GroupFault,
): Promise<void> {
  for (let at = position + GROUP_ALIGN_BYTES; at < window.segment.bytes; at += GROUP_ALIGN_BYTES) {
    const head = await window.view(at, GROUP_HEADER_BYTES)
    const header = readGroupHeader(head, 0, window.segment.salt)
    if (header !== undefined && header.sequence > sequence) {
      const proof = `group ${header.sequence} at byte ${at} proves that it had been written`
      throw damaged(window, found.at, sequence, `${found.fault}, and ${proof}`)
    }
  }
}

export function tornTailAt(window: SegmentWindow, position: number, found: GroupFault): TornTail | undefined {
  if (!found.looksTorn) return undefined
  return {
    file: window.path,
    byteOffset: position,
    bytes: Math.min(found.bytes, window.segment.bytes - position),
    reason: found.fault,
  }
}
