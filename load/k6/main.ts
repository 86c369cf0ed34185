/** `npm run load`: k6 scenarios against a running broker. */
import { runLoad } from './runner.js'

process.exitCode = await runLoad({
  arguments: process.argv.slice(2),
  environment: process.env,
  print: console.log,
  complain: console.error,
})
