/** The peers' clients are installed apart from Millrace's own packages: see package.json beside this file. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The compiled form of this file stands under dist/, the packages stand beside its source. */
function peersFolder(): string {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'load/peers/package.json'))) {
    const parent = dirname(directory)
    if (parent === directory) throw new Error('load/peers/package.json is not where it should be')
    directory = parent
  }
  return join(directory, 'load/peers')
}

const requireFromPeers = createRequire(join(peersFolder(), 'package.json'))

/** Whether `npm ci --prefix load/peers` has been run. */
export function isInstalled(name: string): boolean {
  try {
    requireFromPeers.resolve(name)
    return true
  } catch {
    return false
  }
}

/** A peer's package; `T` names what is used of it, since its own types are there only once it is installed. */
export function peerPackage<T>(name: string): T {
  return requireFromPeers(name) as T
}

/** The installed version of a package. */
export function packageVersion(name: string): string {
  return peerPackage<{ version: string }>(`${name}/package.json`).version
}
