/** The part of the package that is used here; it ships no types. */
declare module 'fs-native-extensions' {
  /**
   * Takes an exclusive lock on the whole file (fcntl F_OFD_SETLK on Linux, flock on macOS, LockFileEx on Windows).
   * Returns false when another open file holds it.
   */
  export function tryLock(descriptor: number): boolean
}
