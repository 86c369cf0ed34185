import { once } from 'node:events'
import { WebSocket } from 'ws'
import { RawConnection } from '../raw-connection.js'
import type { Stage } from './stage.js'

export interface IdleRequest {
  readonly url: string
  readonly isBroker: boolean
  readonly connections: number
}

/** Connections that have said HELLO and nothing more; to the bare server, nothing. Stages: `none`, then `open`. */
export async function idle({ url, isBroker, connections }: IdleRequest, stage: Stage): Promise<void> {
  const open = async (): Promise<void> => {
    if (isBroker) await (await RawConnection.open(url)).hello()
    else await once(new WebSocket(url, { perMessageDeflate: false }), 'open')
  }
  // What the first ones load and allocate for all is no connection's own.
  for (let i = 0; i < 50; i++) await open()
  await stage('none')
  const STEP = 50
  for (let opened = 0; opened < connections; opened += STEP) {
    await Promise.all(Array.from({ length: Math.min(STEP, connections - opened) }, open))
  }
  await stage('open')
}
