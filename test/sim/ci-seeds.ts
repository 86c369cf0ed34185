/** What CI simulates: the same seeds and steps with no mistake in the broker (`npm run test:sim`) and with each (`npm run test:teeth`). */
export const FIRST_SEED = 1
export const STEPS = 2_000
/** Of a broker with a mistake: so many seeds must be enough to find it. */
export const SEEDS_PER_FAULT_MAX = 200
