import type { Counter, Registry } from 'prom-client'
import {
  boundsOf,
  COUNTERS,
  type CounterName,
  GAUGES,
  type GaugeName,
  HISTOGRAMS,
  type HistogramName,
} from '../platform/metric-names.js'
import type { Distribution, MemoryMetrics, MetricsSnapshot } from '../platform/metrics.js'
import type { RequestMeter } from './request-meter.js'

export interface PrometheusPageOptions {
  readonly measured: Pick<MemoryMetrics, 'snapshot'> | undefined
  readonly meter: RequestMeter
}

type PromClient = typeof import('prom-client')
/** Where a page's figures come from: one snapshot for all of them. */
type Figures = () => MetricsSnapshot

/**
 * The broker's measures as Prometheus collects them. The broker counts in plain numbers, and only who asks pays for the
 * text. No label names a topic, group or client: there may be any number of them.
 */
export class PrometheusPage {
  readonly #registry: Registry
  readonly #measured: PrometheusPageOptions['measured']
  #figures: MetricsSnapshot | undefined

  /** Loads prom-client, which a broker that nobody asks does without. */
  static async open(options: PrometheusPageOptions): Promise<PrometheusPage> {
    const { default: prom } = (await import('prom-client')) as unknown as { default: PromClient }
    return new PrometheusPage(prom, options)
  }

  private constructor(prom: PromClient, { measured, meter }: PrometheusPageOptions) {
    const registry = new prom.Registry()
    this.#registry = registry
    this.#measured = measured
    prom.collectDefaultMetrics({ register: registry })
    addRequests(prom, registry, meter)
    if (measured === undefined) return
    const figures: Figures = () => this.#figures ?? measured.snapshot()
    for (const name of Object.keys(COUNTERS) as CounterName[]) addCounter(prom, registry, name, figures)
    for (const name of Object.keys(GAUGES) as GaugeName[]) addGauge(prom, registry, name, figures)
    for (const name of Object.keys(HISTOGRAMS) as HistogramName[]) addHistogram(prom, registry, name, figures)
  }

  async write(): Promise<{ contentType: string; text: string }> {
    this.#figures = this.#measured?.snapshot()
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() }
  }
}

/** The public name: `millrace_`, snake case, base units last: `lagMsMax` is `millrace_lag_max_seconds`. */
export function prometheusName(name: string, { isCounter = false }: { isCounter?: boolean } = {}): string {
  const words = name
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .split(' ')
    .map((word) => (word === 'ms' ? 'seconds' : word))
  const unit = words.findIndex((word) => word === 'seconds' || word === 'bytes')
  if (unit !== -1) words.push(...words.splice(unit, 1))
  return ['millrace', ...words, ...(isCounter ? ['total'] : [])].join('_')
}

/** What one of the broker's own units is in base units. */
const scaleOf = (name: string): number => (/Ms(Max)?$/.test(name) ? 0.001 : 1)

function addCounter({ Counter }: PromClient, registry: Registry, name: CounterName, figures: Figures): void {
  new Counter({
    name: prometheusName(name, { isCounter: true }),
    help: COUNTERS[name],
    registers: [registry],
    collect() {
      setTo(this, figures().counters[name])
    },
  })
}

function addGauge({ Gauge }: PromClient, registry: Registry, name: GaugeName, figures: Figures): void {
  new Gauge({
    name: prometheusName(name),
    help: GAUGES[name],
    registers: [registry],
    collect() {
      const value = figures().gauges[name]
      if (value === undefined) this.remove()
      else this.set(value * scaleOf(name))
    },
  })
}

function addHistogram(
  { Histogram }: PromClient,
  registry: Registry,
  name: HistogramName,
  figures: Figures,
): void {
  const scale = scaleOf(name)
  const histogram = new Histogram({
    name: prometheusName(name),
    help: HISTOGRAMS[name],
    registers: [registry],
    buckets: boundsOf(name).map((bound) => scaled(bound, scale)),
  })
  // The observations were made elsewhere: only their sums are written here. The registry asks by this method alone.
  const written = { name: prometheusName(name), help: HISTOGRAMS[name], type: 'histogram' }
  Object.assign(histogram, {
    getForPromString: async () => ({ ...written, values: valuesOf(figures().histograms[name], name) }),
  })
}

type HistogramValues = Awaited<ReturnType<InstanceType<PromClient['Histogram']>['get']>>['values']

function valuesOf({ count, sum, cumulative }: Distribution, name: HistogramName): HistogramValues {
  const metric = prometheusName(name)
  const scale = scaleOf(name)
  const buckets = boundsOf(name).map((bound, index) => ({
    metricName: `${metric}_bucket`,
    labels: { le: scaled(bound, scale) },
    value: cumulative[index] ?? 0,
  }))
  return [
    ...buckets,
    { metricName: `${metric}_bucket`, labels: { le: '+Inf' }, value: count },
    { metricName: `${metric}_sum`, labels: {}, value: sum * scale },
    { metricName: `${metric}_count`, labels: {}, value: count },
  ]
}

/** Without the dust of binary fractions: 0.25 ms is 0.00025 s. */
const scaled = (value: number, scale: number): number => Number((value * scale).toPrecision(12))

function addRequests({ Counter }: PromClient, registry: Registry, meter: RequestMeter): void {
  new Counter({
    name: 'millrace_http_requests_total',
    help: 'HTTP requests that were answered.',
    labelNames: ['method', 'route', 'status'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { requests, ...labels } of meter.counts) this.inc(labels, requests)
    },
  })
}

function setTo(counter: Counter, value: number): void {
  counter.reset()
  counter.inc(value)
}
