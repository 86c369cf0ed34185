#!/usr/bin/env node
// The executable. It is CommonJS for one reason: Node reads ES modules through the thread pool, which takes its size
// from the environment when it is first used, so no ES module can still choose it. File writes, reads and syncs,
// compression and LMDB share that pool; with Node's 4 threads a few slow reads would hold up the write-ahead log.
process.env.UV_THREADPOOL_SIZE = String(Math.max(8, Number(process.env.UV_THREADPOOL_SIZE) || 0))
import('./main.js')
