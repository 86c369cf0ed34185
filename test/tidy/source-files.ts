import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const root = join(import.meta.dirname, '../..')

/** Repository path to text, of every TypeScript and JavaScript file in these top-level folders. */
export function readSources(folders: readonly string[]): Map<string, string> {
  const sources = new Map<string, string>()
  for (const folder of folders) {
    if (!existsSync(join(root, folder))) continue
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const path = `${folder}/${file.replaceAll('\\', '/')}`
      // load/peers has packages of its own.
      if (path.includes('/node_modules/')) continue
      if (/\.(ts|js|mjs)$/.test(path)) sources.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  return sources
}
