/** A setting that cannot be used. The message is one line: where it was set, what it is, what is allowed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}
