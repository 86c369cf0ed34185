import { type Fields, type FieldsOf, fieldList } from '../shape.js'

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
  const list = fieldList(fields, name)
  return {
    name,
    opcode,
    fields,
    read: (frame) => list.read(frame, 1),
    write: (values) => list.write(values, [opcode]),
  }
}
