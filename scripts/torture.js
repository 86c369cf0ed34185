// npm run torture: see test/torture/arguments.ts.
import { runBundled } from './bundle.js'

await runBundled('test/torture/main.ts')
