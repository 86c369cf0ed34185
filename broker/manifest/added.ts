import type { Shape } from '../../protocol/shape.js'

/** A field that what an earlier release wrote does not have. */
export function added<T>(shape: Shape<T>, before: T): Shape<T> {
  return {
    ...shape,
    read: (value, path) => (value === null || value === undefined ? before : shape.read(value, path)),
  }
}
