/** A process that passes a failpoint ten times and says so each time. */
import { failpointsFromEnvironment } from '../../../broker/platform/failpoints.js'

const failpoints = failpointsFromEnvironment(process.env)
for (let hit = 1; hit <= 10; hit++) {
  await failpoints.hit('walAfterWrite')
  // Synchronous, so that nothing said is lost with the process.
  const { writeSync } = await import('node:fs')
  writeSync(1, `${hit}\n`)
}
