import { PrometheusPage, type PrometheusPageOptions } from '../prometheus.js'
import { type Route, route } from '../route.js'

/** The broker's measures, for Prometheus to collect. */
export function metricsRoutes({ measured }: Pick<PrometheusPageOptions, 'measured'>): readonly Route[] {
  let page: Promise<PrometheusPage> | undefined
  return [
    route({
      method: 'GET',
      path: '/metrics',
      id: 'metrics',
      summary: "The broker's measures in Prometheus' text format",
      answers: { 200: { about: 'All of them.', content: { 'text/plain': undefined } } },
      async handle({ meter }, _request, reply) {
        page ??= PrometheusPage.open({ measured, meter })
        const { contentType, text } = await (await page).write()
        return reply
          .header('content-type', contentType)
          .header('cache-control', 'no-store')
          .send(Buffer.from(text))
      },
    }),
  ]
}
