/** Requests that were answered, by route, method and status: as many as there are routes and statuses, whoever asks for what. */
export class RequestMeter {
  readonly #counts = new Map<string, RequestCount>()

  /** `route` is the route's pattern, never a path. */
  count(labels: RequestLabels): void {
    const key = `${labels.method} ${labels.status} ${labels.route}`
    const known = this.#counts.get(key)
    if (known === undefined) this.#counts.set(key, { ...labels, requests: 1 })
    else known.requests++
  }

  get counts(): Iterable<Readonly<RequestCount>> {
    return this.#counts.values()
  }
}

interface RequestLabels {
  readonly method: string
  readonly route: string
  readonly status: number
}

interface RequestCount extends RequestLabels {
  requests: number
}
