/** Three functions of the language that the protocol uses and the engine of the oldest k6 may lack. */

Object.hasOwn ??= (object: object, key: PropertyKey) => Object.hasOwn(object, key)

Object.fromEntries ??= (entries: Iterable<readonly [PropertyKey, unknown]>) => {
  const object: Record<PropertyKey, unknown> = {}
  for (const [key, value] of entries) object[key] = value
  return object
}

if (Array.prototype.at === undefined) {
  Object.defineProperty(Array.prototype, 'at', {
    value(this: readonly unknown[], index: number) {
      return this[index < 0 ? this.length + index : index]
    },
  })
}
