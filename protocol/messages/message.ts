import type { Fields, FieldsOf, Shape } from '../shape.js'

/** One kind of frame: `[opcode, ...fields]`, the fields in the order in which they are named. */
export interface Message<Name extends string = string, F extends Fields = Fields> {
  readonly name: Name
  /** On the wire: never renumbered. */
  readonly opcode: number
  readonly fields: F
  /** Fields of an unpacked frame (index 0 is the opcode). Throws BAD_FRAME. */
  read(frame: readonly unknown[]): FieldsOf<F>
  /** The list to pack. */
  write(fields: FieldsOf<F>): unknown[]
}

export type MessageFields<M> = M extends Message<string, infer F> ? FieldsOf<F> : never

export function message<Name extends string, F extends Fields>(
  name: Name,
  opcode: number,
  fields: F,
): Message<Name, F> {
  const names = Object.keys(fields)
  const shapes = Object.values(fields) as Shape<unknown>[]
  const paths = names.map((field) => `${name}.${field}`)
  return {
    name,
    opcode,
    fields,
    read(frame) {
      const result: Record<string, unknown> = {}
      for (let i = 0; i < names.length; i++) {
        result[names[i] as string] = (shapes[i] as Shape<unknown>).read(frame[i + 1], paths[i] as string)
      }
      return result as FieldsOf<F>
    },
    write(values) {
      const frame: unknown[] = [opcode]
      for (let i = 0; i < names.length; i++) {
        frame.push(
          (shapes[i] as Shape<unknown>).write((values as Record<string, unknown>)[names[i] as string]),
        )
      }
      return frame
    },
  }
}
