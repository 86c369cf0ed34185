import { join } from 'node:path'
import type { Disk, DiskFile } from '../platform/disk.js'
import { type SegmentHeader, segmentFileName } from './segment.js'
import type { WindowMemory } from './window-memory.js'

const MIB = 1024 * 1024
const WINDOW_BYTES = 4 * MIB
/** A window is read in pieces, several at once: one read at a time does not keep a disk busy. */
const PIECE_BYTES = MIB
/** Room before a window for the end of the one before it: a group may begin there and go on here. */
const CARRY_BYTES = 4 * MIB

/** Where segments are, and what they are read into: one window at a time. */
export interface WindowSource {
  readonly disk: Disk
  readonly directory: string
  readonly memory: WindowMemory
}

/** The bytes of the segment from `start` on are those of `memory` from `from` on. */
interface Window {
  readonly memory: Uint8Array
  readonly from: number
  readonly start: number
  readonly length: number
}

interface Ahead {
  readonly memory: Uint8Array
  readonly start: number
  readonly end: number
  readonly length: Promise<number>
}

/** Reads a segment through a window that moves along with the reader; the next one is read meanwhile. */
export class SegmentWindow {
  readonly segment: SegmentHeader
  readonly path: string
  readonly #file: DiskFile
  readonly #memory: WindowMemory
  #window: Window | undefined
  #ahead: Ahead | undefined

  private constructor(file: DiskFile, segment: SegmentHeader, memory: WindowMemory) {
    this.#file = file
    this.path = file.path
    this.segment = segment
    this.#memory = memory
  }

  static async open(
    segment: SegmentHeader,
    { disk, directory, memory }: WindowSource,
  ): Promise<SegmentWindow> {
    const file = await disk.open(join(directory, segmentFileName(segment.number)), 'read')
    return new SegmentWindow(file, segment, memory)
  }

  /** `length` bytes at `position`, fewer at the end of the file; valid until the next call. One call at a time. */
  async view(position: number, length: number): Promise<Uint8Array> {
    const end = Math.max(position, Math.min(position + length, this.segment.bytes))
    let window = this.#window
    if (window === undefined || position < window.start || end > window.start + window.length) {
      window = (await this.#moveOn(position, end)) ?? (await this.#moveTo(position, end))
      this.#window = window
      this.#readAhead(window)
    }
    const at = window.from + position - window.start
    return window.memory.subarray(at, Math.min(at + end - position, window.from + window.length))
  }

  /** To what was read ahead, with the end of this window before it; undefined where that is not what is wanted. */
  async #moveOn(position: number, end: number): Promise<Window | undefined> {
    const before = this.#window
    const ahead = this.#ahead
    if (before === undefined || ahead === undefined) return undefined
    const carried = ahead.start - position
    if (position < before.start || carried < 0 || carried > CARRY_BYTES || end > ahead.end) return undefined
    const length = await ahead.length
    this.#ahead = undefined
    const at = before.from + position - before.start
    const from = CARRY_BYTES - carried
    ahead.memory.set(before.memory.subarray(at, at + carried), from)
    return { memory: ahead.memory, from, start: position, length: carried + length }
  }

  async #moveTo(position: number, end: number): Promise<Window> {
    await this.#dropAhead()
    this.#window = undefined
    const wanted = Math.min(Math.max(WINDOW_BYTES, end - position), this.segment.bytes - position)
    const memory = this.#memory.other(undefined, wanted)
    const length = await this.#read(memory.subarray(0, wanted), position)
    return { memory, from: 0, start: position, length }
  }

  #readAhead(window: Window): void {
    const start = window.start + window.length
    const end = Math.min(start + WINDOW_BYTES, this.segment.bytes)
    if (start >= end) return
    const memory = this.#memory.other(window.memory, CARRY_BYTES + WINDOW_BYTES)
    const length = this.#read(memory.subarray(CARRY_BYTES, CARRY_BYTES + end - start), start)
    // Told to whoever wants these bytes; nobody may.
    length.catch(() => {})
    this.#ahead = { memory, start, end, length }
  }

  async #read(target: Uint8Array, start: number): Promise<number> {
    const pieces: Promise<number>[] = []
    for (let at = 0; at < target.length; at += PIECE_BYTES)
      pieces.push(this.#file.read(target.subarray(at, at + PIECE_BYTES), start + at))
    // All of them, whatever becomes of one: the memory is used again.
    await Promise.allSettled(pieces)
    let length = 0
    for (const bytes of await Promise.all(pieces)) length += bytes
    return length
  }

  async #dropAhead(): Promise<void> {
    await this.#ahead?.length.catch(() => {})
    this.#ahead = undefined
  }

  async close(): Promise<void> {
    await this.#dropAhead()
    await this.#file.close()
  }
}
