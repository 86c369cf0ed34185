import type { Disk } from '../platform/disk.js'
import { encodeSegmentEnd, GROUP_ALIGN_BYTES, GROUP_FLAG } from './group.js'
import type { WalEnd, WalIdentity } from './position.js'
import type { ScannedGroup } from './scan.js'

/**
 * Ends the segment that a fresh one goes on from. What is written here is never read while the fresh one is there;
 * without it the loss of that file would look like a WAL that ended earlier.
 */
export async function endSuperseded(
  options: { readonly disk: Disk; readonly identity: WalIdentity; readonly shardEpoch: number },
  path: string,
  found: { end: WalEnd; lastGroup: ScannedGroup | undefined },
): Promise<void> {
  const { end, lastGroup } = found
  const isEnded = ((lastGroup?.header.flags ?? 0) & GROUP_FLAG.segmentEnd) !== 0
  if (isEnded || end.position + GROUP_ALIGN_BYTES > end.segment.bytes) return
  const { group } = encodeSegmentEnd(
    {
      ...options.identity,
      shardEpoch: options.shardEpoch,
      sequence: end.sequence + 1,
      time: lastGroup?.header.time ?? 0,
      previousCrc: end.headerCrc,
    },
    end.segment.salt,
  )
  try {
    const file = await options.disk.open(path, 'durable')
    await file.write([group], end.position).finally(() => file.close())
  } catch {
    // The old segment may lie on the very sectors that brought the broker down, and nothing depends on it any more.
  }
}
