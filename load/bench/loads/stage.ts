/** Tells the parent process that a load has come to this point, and waits until it has looked at what it wants to. */
export type Stage = (name: string) => Promise<void>

/** What a load process says: that it has come to a stage and waits, its answer, or why there is none. */
export type LoadMessage =
  | { readonly stage: string }
  | { readonly answer: unknown }
  | { readonly error: string }
