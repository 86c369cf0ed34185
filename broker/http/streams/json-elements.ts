import { badRequest } from '../shape.js'

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPENING = new Set([0x5b, 0x7b])
const CLOSING = new Set([0x5d, 0x7d])

/**
 * The values that a JSON text brings to a stream, each as it is written there, digit for digit: those of an array one by one,
 * anything else as one. Throws BAD_REQUEST.
 */
export function jsonElements(text: string): string[] {
  try {
    JSON.parse(text)
  } catch (cause) {
    throw badRequest(`the body is not JSON: ${(cause as Error).message}`)
  }
  const whole = text.trim()
  if (!whole.startsWith('[')) return [whole]
  const elements: string[] = []
  let depth = 0
  let start = 1
  const take = (end: number): void => {
    const element = whole.slice(start, end).trim()
    // Of an empty array; between commas there is always something.
    if (element !== '') elements.push(element)
    start = end + 1
  }
  for (let i = 1; i < whole.length; i++) {
    const code = whole.charCodeAt(i)
    if (code === QUOTE) i = endOfString(whole, i)
    else if (OPENING.has(code)) depth++
    else if (CLOSING.has(code)) depth--
    else if (code === COMMA && depth === 0) take(i)
  }
  take(whole.length - 1)
  return elements
}

function endOfString(text: string, start: number): number {
  let i = start + 1
  while (text.charCodeAt(i) !== QUOTE) i += text.charCodeAt(i) === BACKSLASH ? 2 : 1
  return i
}
