import { usageFailure } from './failure.js'

/** Where commands look for a broker unless told otherwise. */
export const URL_DEFAULT = 'ws://127.0.0.1:4600'

/** The broker's address: `--url`, else MILLRACE_URL, else this machine. Throws for what is no ws: or wss: URL. */
export function brokerUrl(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const [source, url] =
    flag !== undefined ? ['--url', flag] : ['MILLRACE_URL', env.MILLRACE_URL || URL_DEFAULT]
  if (URL.canParse(url) && ['ws:', 'wss:'].includes(new URL(url).protocol)) return url
  throw usageFailure(`${source} is ${JSON.stringify(url)}, but must be an address such as ${URL_DEFAULT}`)
}
