import type { Client } from '../../client/index.js'
import { CommandFailure, describeFailure } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { brokerUrl } from './url.js'

/** How long a command looks for its broker: long enough for one that is being started beside it. */
const connectMsMax = 5_000

export interface SessionOptions {
  /** Say on stderr when the connection is lost and when it is back: the command waits meanwhile. */
  readonly tellsOutages?: boolean
}

/** Runs a command's work with a client, which is closed whatever happens. Throws when there is no broker to be found. */
export async function withClient<T>(
  globals: GlobalOptions,
  work: (client: Client) => Promise<T>,
  { tellsOutages = false }: SessionOptions = {},
): Promise<T> {
  const url = brokerUrl(globals.url)
  const { connect } = await import('../../client/index.js')
  const client = connect(url, { clientName: 'millrace-cli' })
  let timer: NodeJS.Timeout | undefined
  const search = new Promise<void>((resolve, reject) => {
    let cause: Error | undefined
    client.on('reconnecting', ({ error }) => {
      cause = error
    })
    client.on('connected', () => resolve())
    timer = setTimeout(() => reject(notFound(url, cause)), connectMsMax)
  })
  if (tellsOutages) tellOutages(client)
  try {
    const working = work(client)
    // Whichever comes first: the end of the work, or the end of the search for a broker.
    await Promise.race([search, working])
    return await working
  } finally {
    clearTimeout(timer)
    await client.close()
  }
}

function notFound(url: string, cause: Error | undefined): CommandFailure {
  const why = cause === undefined ? 'no answer' : describeFailure(cause)
  return new CommandFailure(
    `no broker at ${url}: ${why}; start one with "millrace start", or name another with --url`,
    {
      cause,
    },
  )
}

function tellOutages(client: Client): void {
  let isOut = false
  client.on('disconnected', ({ error }) => {
    isOut = true
    process.stderr.write(`millrace: waiting for the broker to come back: ${describeFailure(error)}\n`)
  })
  client.on('connected', () => {
    if (isOut) process.stderr.write('millrace: connected again\n')
    isOut = false
  })
}
