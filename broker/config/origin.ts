import { isIP } from 'node:net'

export interface OriginPolicy {
  /** Origins such as `https://app.example.com`; `*` allows every page. */
  readonly allowedOrigins: readonly string[]
  /** Host names that this broker is known by, beside loopback and IP addresses. */
  readonly ownHosts: readonly string[]
  /** Names that HTTP requests may ask for beside those; `*` allows every name. */
  readonly allowedHosts?: readonly string[]
}

/**
 * Why a browser's page may not connect; undefined when it may. Browsers let any page open a WebSocket to anywhere and
 * name the page's origin; programs send none.
 *
 * By default pages of the same host may connect, whatever their port. A name that merely equals the Host header proves
 * nothing: whoever owns the name can point it at this machine after the page has loaded (DNS rebinding). So the host
 * must be one that cannot be pointed elsewhere: an IP address, localhost, or a name that the broker was started with.
 */
export function originFault(
  request: { origin?: string | undefined; host?: string | undefined },
  policy: OriginPolicy,
): string | undefined {
  const { origin, host } = request
  if (origin === undefined || policy.allowedOrigins.includes('*')) return undefined
  if (policy.allowedOrigins.some((allowed) => sameOrigin(allowed, origin))) return undefined
  const page = hostnameOf(origin)
  const asked = host === undefined ? undefined : hostnameOf(`http://${host}`)
  if (page !== undefined && page === asked && isFixed(page, policy.ownHosts)) return undefined
  return `pages of ${printable(origin)} may not connect; allowedOrigins lists those that may`
}

/** Whether two texts name one origin. */
export function sameOrigin(allowed: string, origin: string): boolean {
  return (
    allowed === origin ||
    (URL.canParse(allowed) && URL.canParse(origin) && originOf(allowed) === originOf(origin))
  )
}

/**
 * Why an HTTP request that asks for this host is refused; undefined when it is not. A page whose name was pointed at this
 * machine after it had loaded reads with requests that carry no origin, because to the browser it is at home: the host is
 * all that gives it away. So it must be a name that cannot be pointed elsewhere by a stranger: an IP address, localhost, a
 * name without dots (of a local network or a container), or one that the broker was started with.
 */
export function hostFault(
  host: string | undefined,
  { ownHosts, allowedHosts = [], allowedOrigins }: OriginPolicy,
): string | undefined {
  // Browsers always say it.
  if (host === undefined || allowedHosts.includes('*')) return undefined
  const asked = hostnameOf(`http://${host}`)
  const isPlain = asked !== undefined && !asked.includes('.')
  const known = [...ownHosts, ...allowedHosts, ...allowedOrigins.map((origin) => hostnameOf(origin) ?? '')]
  if (asked !== undefined && (isPlain || isFixed(asked, known))) return undefined
  return `requests to host ${printable(host)} are not answered; allowedHosts lists the names that may be asked for`
}

/** `null` for a scheme without origins, which equals nothing. */
function originOf(url: string): string | number {
  const { origin } = new URL(url)
  return origin === 'null' ? Number.NaN : origin
}

function hostnameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname.toLowerCase() || undefined : undefined
}

function isFixed(hostname: string, ownHosts: readonly string[]): boolean {
  const isAddress = hostname.startsWith('[') || isIP(hostname) !== 0
  const isLocal = hostname === 'localhost' || hostname.endsWith('.localhost')
  return isAddress || isLocal || ownHosts.some((own) => own.toLowerCase() === hostname)
}

const printable = (text: string): string => text.replace(/[^\x21-\x7e]/g, '?').slice(0, 200)
