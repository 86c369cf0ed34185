import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { endWithUs } from '../peers/offspring.js'
import type { Loads } from './load-process.js'
import type { LoadMessage } from './loads/stage.js'

type Kind = keyof Loads
type Request<K extends Kind> = Parameters<Loads[K]>[0]
type Answer<K extends Kind> = Awaited<ReturnType<Loads[K]>>

const loadProcess = fileURLToPath(new URL('./load-process.js', import.meta.url))

/** Runs a load in a process of its own. At each of its stages it waits until `onStage` has resolved. */
export async function runLoad<K extends Kind>(
  kind: K,
  request: Request<K>,
  onStage: (stage: string) => unknown = () => {},
): Promise<Answer<K>> {
  const child = fork(loadProcess, [kind, JSON.stringify(request)], { execArgv: [], detached: true })
  endWithUs(child)
  try {
    return await new Promise<Answer<K>>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`the load "${kind}" ended with ${code}`)))
      child.on('message', (message: LoadMessage) => {
        if ('answer' in message) resolve(message.answer as Answer<K>)
        else if ('error' in message) reject(new Error(`the load "${kind}": ${message.error}`))
        else {
          Promise.resolve(onStage(message.stage))
            .then(() => child.send('go on'))
            .catch(reject)
        }
      })
    })
  } finally {
    child.kill()
  }
}
