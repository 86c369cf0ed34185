/** What every command understands, before and after its name. */
export interface GlobalOptions {
  readonly url?: string
  readonly verbose?: boolean
}
