import { formatCount } from '../config/values.js'

/** `1 record`, `12,345 records`. */
export const count = (number: number, noun: string): string =>
  `${formatCount(number)} ${noun}${number === 1 ? '' : 's'}`
