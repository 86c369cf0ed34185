import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'

const corpus = fileURLToPath(new URL('corpus', import.meta.url))

/** `MILLRACE_FUZZ_RUNS=<n>` is the long form: so many runs of each campaign, instead of its few of every test run. */
const longRuns = Number(process.env.MILLRACE_FUZZ_RUNS ?? 0)
/** `MILLRACE_FUZZ_SEED=<n>` repeats the runs of a seed; without it the short form tries the same each time, the long form others. */
const chosenSeed = process.env.MILLRACE_FUZZ_SEED
const SHORT_SEED = 1

export const isLongFuzz = longRuns > 0
/** Of the whole test, the corpus included. */
export const FUZZ_TIMEOUT_MS = isLongFuzz ? 3_600_000 : 300_000

export interface Campaign<Recipe> {
  /** Its folder in the corpus. */
  readonly name: string
  /** What is done to valid data, as plain JSON: it is kept when it finds something. */
  readonly recipe: fc.Arbitrary<Recipe>
  /** Of the short form. */
  readonly runs: number
  /** Throws, or rejects, when what must hold does not. */
  readonly holds: (recipe: Recipe) => Promise<void> | void
}

/**
 * Tries recipes: first all that ever found something (`corpus/<name>/`), then new ones. The smallest that fails is
 * written into the corpus, and the error says how to repeat it.
 */
export async function runCampaign<Recipe>({ name, recipe, runs, holds }: Campaign<Recipe>): Promise<void> {
  const folder = join(corpus, name)
  for (const file of await kept(folder)) {
    const { recipe } = JSON.parse(await readFile(join(folder, file), 'utf8')) as { recipe: Recipe }
    try {
      await holds(recipe)
    } catch (cause) {
      throw new Error(`corpus/${name}/${file} fails: ${messageOf(cause)}`, { cause })
    }
  }
  const ownSeed = isLongFuzz ? Math.floor(Math.random() * 2 ** 31) : SHORT_SEED
  const seed = chosenSeed === undefined ? ownSeed : Number(chosenSeed)
  const numRuns = isLongFuzz ? longRuns : runs
  const startedMs = performance.now()
  const details = await fc.check(
    fc.asyncProperty(recipe, async (each) => {
      await holds(each)
    }),
    { seed, numRuns, endOnFailure: false },
  )
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  console.log(`fuzz ${name}: seed ${seed}, ${details.numRuns} runs in ${seconds} s`)
  if (!details.failed) return
  const found = JSON.stringify({ seed, recipe: details.counterexample?.[0] }, null, 1)
  const file = `${createHash('sha256').update(found).digest('hex').slice(0, 12)}.json`
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, file), `${found}\n`)
  const cause = details.errorInstance
  throw new Error(
    `${messageOf(cause)}\nafter ${details.numRuns} runs of seed ${seed}, kept as corpus/${name}/${file}, replayed first from now on\n${found}`,
    { cause },
  )
}

async function kept(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => name.endsWith('.json')).sort()
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error)
