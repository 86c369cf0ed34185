/** One server-sent event. */
export interface ServerEvent {
  /** `message` unless it has a name. */
  readonly name: string
  readonly id: string | undefined
  readonly data: string
}

/** Takes the text of an event stream apart, as it comes. What an end of the connection cuts is no event. */
export class EventText {
  #rest = ''

  /** The events that these bytes complete. */
  take(bytes: Buffer): ServerEvent[] {
    // Nothing beyond ASCII is in what the programs write.
    const blocks = (this.#rest + bytes.toString('latin1')).split('\n\n')
    this.#rest = blocks.pop() ?? ''
    return blocks.flatMap((block) => eventIn(block) ?? [])
  }
}

/** Undefined where it is a comment, or says when to come back. */
function eventIn(block: string): ServerEvent | undefined {
  let name = 'message'
  let id: string | undefined
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':')
    const value = line.slice(colon + 1).replace(/^ /, '')
    const field = line.slice(0, colon)
    if (field === 'event') name = value
    else if (field === 'id') id = value
    else if (field === 'data') data.push(value)
  }
  return data.length === 0 ? undefined : { name, id, data: data.join('\n') }
}
