import { join } from 'node:path'
import type { Disk } from '../platform/disk.js'
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentNumber,
} from '../wal/segment.js'

/** A file that bears the name of a WAL segment. */
export interface SegmentFile {
  readonly path: string
  readonly number: number
  readonly bytes: number
  /** Undefined when it does not verify. */
  readonly header: SegmentHeader | undefined
}

/** The segment files of a WAL in the order of their numbers, the damaged ones too. */
export async function listSegmentFiles(disk: Disk, directory: string): Promise<SegmentFile[]> {
  const files: SegmentFile[] = []
  for (const name of await disk.list(directory)) {
    const number = segmentNumber(name)
    if (number === undefined) continue
    const path = join(directory, name)
    const file = await disk.open(path, 'read')
    try {
      const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
      const header = decodeSegmentHeader(bytes.subarray(0, await file.read(bytes, 0)))
      files.push({ path, number, bytes: await file.size(), header: 'fault' in header ? undefined : header })
    } finally {
      await file.close()
    }
  }
  return files
}
