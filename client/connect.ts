import { Client } from './client.js'
import type { ConnectOptions, Surroundings } from './options.js'

/**
 * A client of the broker at `url`, for example `ws://127.0.0.1:4600`. Nothing is sent before the first call that needs it.
 * Throws ILLEGAL_ARGUMENT for a URL that cannot be a broker's.
 */
export function connect(url: string | URL, options?: ConnectOptions): Client
/** @internal */
export function connect(url: string | URL, options: ConnectOptions, surroundings: Surroundings): Client
export function connect(
  url: string | URL,
  options: ConnectOptions = {},
  surroundings: Surroundings = {},
): Client {
  return new Client(url, options, surroundings)
}
