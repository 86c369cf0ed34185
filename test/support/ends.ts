/**
 * What is closed after a test or after a file. Modules of several files are loaded once, so hooks of their own would run for
 * the first of the files alone: `setup.ts` asks for these in each.
 */
type End = () => Promise<unknown>

const ends: Record<'test' | 'file', End[]> = { test: [], file: [] }

/** The last one that came goes first. */
export function atEndOf(part: 'test' | 'file', end: End): void {
  ends[part].push(end)
}

export async function reachEndOf(part: 'test' | 'file'): Promise<void> {
  for (const end of ends[part].splice(0).reverse()) await end()
}
