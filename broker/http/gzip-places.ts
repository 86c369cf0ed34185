/** Fast, for what is compressed anew for each answer. */
export const GZIP_LEVEL = 3

/** Answers that are compressed at a time. */
const PLACES = 2

/** Who may compress: the thread pool is the WAL's before it is gzip's. Whoever gets no place sends the bytes as they are. */
export class GzipPlaces {
  #taken = 0

  get isFree(): boolean {
    return this.#taken < PLACES
  }

  /** Takes one, free or not; whoever has it gives it back by calling what is returned, once. */
  take(): () => void {
    this.#taken++
    return () => {
      this.#taken--
    }
  }
}
