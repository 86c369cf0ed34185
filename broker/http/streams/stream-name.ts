import { MillraceError } from '../../../protocol/error-codes.js'
import { HARD_LIMITS, illegalTopicName } from '../../../protocol/limits.js'
import { printable, type Shape, text } from '../shape.js'

/** Where streams are. */
export const STREAM_PATH = '/v1/stream/'
const PATH_CHARS_MAX = 1_024

/**
 * The topic of a stream: its path where that could be a topic's name; else every byte that no name may have is `__` and two hex
 * digits, and so is a `_` in front of another one or of such a byte. Two paths never have one name.
 */
export function topicNameOf(path: string): string {
  const bytes = Buffer.from(path)
  let name = ''
  for (const [i, byte] of bytes.entries()) {
    const next = bytes[i + 1]
    const isLast = next === undefined
    const isLegal =
      byte === UNDERSCORE ? isLast || (next !== UNDERSCORE && isNameByte(next)) : isNameByte(byte)
    name += isLegal ? String.fromCharCode(byte) : `__${byte.toString(16).padStart(2, '0').toUpperCase()}`
  }
  return name
}

const UNDERSCORE = 0x5f

const isNameByte = (byte: number): boolean => /[A-Za-z0-9._-]/.test(String.fromCharCode(byte)) && byte < 0x80

/** The path of a stream behind `/v1/stream/`, as the name of its topic. Throws ILLEGAL_TOPIC_NAME. */
export const streamName: Shape<string> = {
  ...text({ charsMax: PATH_CHARS_MAX }),
  schema: {
    type: 'string',
    minLength: 1,
    maxLength: PATH_CHARS_MAX,
    description: 'Any path; segments "." and ".." and empty ones are refused.',
  },
  readText(path, where) {
    const isPlain = path.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused.
    if (!isPlain || /[\x00-\x1f\x7f]/.test(path)) throw illegal(where, path, 'this is no path of a stream')
    const name = topicNameOf(path)
    const fault = illegalTopicName(name)
    if (fault === undefined) return name
    const isLong = name.length > HARD_LIMITS.topicNameCharsMax
    throw illegal(where, path, isLong ? `its topic would have a name of ${name.length} characters` : fault)
  },
}

const illegal = (where: string, path: string, fault: string): MillraceError =>
  new MillraceError('ILLEGAL_TOPIC_NAME', { message: `${where}: "${printable(path)}": ${fault}` })
