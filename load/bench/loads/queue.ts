import { connect, defineTopic, text } from '../../../client/index.js'

export interface QueueRequest {
  readonly url: string
  /** What stands in the topic `bench`. */
  readonly jobs: number
}

const Jobs = defineTopic({ name: 'bench', key: text(), value: text() })
const GROUP = 'bench'

/** One worker with default settings that does nothing with each job; the time ends when the last acknowledgement is durable. */
export async function queue({ url, jobs }: QueueRequest): Promise<{ jobsPerSecond: number }> {
  const client = connect(url)
  await client.describeTopic(Jobs)
  const failed: unknown[] = []
  let given = 0
  const startedMs = performance.now()
  const worker = client.queue(Jobs, { group: GROUP })
  const work = (): void => {
    if (++given === jobs) void worker.close()
  }
  await worker.run(work, { onFailed: (error) => failed.push(error) })
  const seconds = (performance.now() - startedMs) / 1000
  if (failed.length > 0) throw failed[0]
  const { partitions } = await client.groups.describe(GROUP, { topic: Jobs })
  const left = partitions.reduce((sum, { lag }) => sum + lag.records, 0)
  if (left > 0) throw new Error(`${left} of ${jobs} jobs are not acknowledged`)
  await client.close()
  return { jobsPerSecond: jobs / seconds }
}
