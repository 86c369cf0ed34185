import { CommandFailure } from './failure.js'

const NEWLINE = 0x0a

/** Some whole lines end to end, each but the last followed by a newline. */
export interface LineBlock {
  readonly bytes: Buffer
  /** Number of its first line, counted from 1. */
  readonly firstLine: number
}

/**
 * Cuts a stream of bytes into blocks of whole lines, as they come: work per block, not per line. A newline ends a
 * line and is not part of it, nothing else is touched; a last line may lack its newline. A line beyond
 * `lineBytesMax` throws before more of it is collected.
 */
export async function* lineBlocks(
  input: AsyncIterable<Buffer>,
  { lineBytesMax }: { lineBytesMax: number },
): AsyncGenerator<LineBlock> {
  let firstLine = 1
  let held: Buffer[] = []
  let heldBytes = 0
  for await (const piece of input) {
    const end = piece.lastIndexOf(NEWLINE)
    if (end !== -1) {
      const bytes =
        held.length === 0 ? piece.subarray(0, end) : Buffer.concat([...held, piece.subarray(0, end)])
      yield { bytes, firstLine }
      firstLine += newlinesIn(bytes) + 1
      held = []
      heldBytes = 0
    }
    if (end + 1 < piece.length) {
      held.push(piece.subarray(end + 1))
      heldBytes += piece.length - end - 1
    }
    if (heldBytes > lineBytesMax) {
      throw new CommandFailure(`line ${firstLine} is longer than a record may be (${lineBytesMax} bytes)`)
    }
  }
  if (heldBytes > 0) yield { bytes: Buffer.concat(held), firstLine }
}

/** The lines of a block; views, nothing is copied. */
export function linesOf({ bytes }: LineBlock): Buffer[] {
  const lines: Buffer[] = []
  let start = 0
  for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
    lines.push(bytes.subarray(start, end))
    start = end + 1
  }
  lines.push(bytes.subarray(start))
  return lines
}

/** The block's lines that come before a line of it; undefined when it is the first. */
export function linesBefore(block: LineBlock, line: number): LineBlock | undefined {
  if (line === block.firstLine) return undefined
  let end = -1
  for (let before = block.firstLine; before < line; before++) end = block.bytes.indexOf(NEWLINE, end + 1)
  return { bytes: block.bytes.subarray(0, end), firstLine: block.firstLine }
}

function newlinesIn(bytes: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}
