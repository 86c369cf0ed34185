// npm run sim: see test/sim/main.ts.
import { runBundled } from './bundle.js'

await runBundled('test/sim/main.ts')
