/** The bare durable write: 4 KiB into a preallocated file that is opened O_DSYNC, one after the other. argv: directory, count, warmup. */
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { percentiles } from '../series.js'

const BLOCK_BYTES = 4 * 1024
const FILE_BLOCKS = 4_096

const [directory = '.', count = '1000', warmup = '3000'] = process.argv.slice(2)
const path = join(directory, 'bare-write')
const prepared = await open(path, 'w')
await prepared.write(Buffer.alloc(FILE_BLOCKS * BLOCK_BYTES))
await prepared.datasync()
await prepared.close()
const file = await open(path, constants.O_RDWR | constants.O_DSYNC)
const block = Buffer.alloc(BLOCK_BYTES, 1)
const latencies: number[] = []
for (let i = 0; i < Number(warmup) + Number(count); i++) {
  const startedMs = performance.now()
  await file.write(block, 0, BLOCK_BYTES, (i % FILE_BLOCKS) * BLOCK_BYTES)
  if (i >= Number(warmup)) latencies.push(performance.now() - startedMs)
}
await file.close()
await rm(path)
process.stdout.write(JSON.stringify(percentiles(latencies)))
