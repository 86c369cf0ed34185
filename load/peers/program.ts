import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** The path of a program on the PATH, or in the folder where Debian puts servers; undefined when it is in neither. */
export async function findProgram(name: string): Promise<string | undefined> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  for (const folder of folders) {
    const path = join(folder, name)
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (folder !== '' && isThere) return path
  }
  return undefined
}

/** The first version number that the program prints; undefined when it cannot be run. */
export async function versionOf(name: string, args: readonly string[]): Promise<string | undefined> {
  const path = await findProgram(name)
  if (path === undefined) return undefined
  const output = await execute(path, [...args], { timeout: 10_000 }).catch(() => undefined)
  return /\d+\.\d+\.\d+/.exec(output?.stdout ?? '')?.[0]
}

/** Whether the program ends well with these arguments. */
export async function accepts(name: string, args: readonly string[]): Promise<boolean> {
  const path = await findProgram(name)
  if (path === undefined) return false
  return await execute(path, [...args], { timeout: 10_000 }).then(
    () => true,
    () => false,
  )
}

/** Ports of 127.0.0.1 that nobody listened on a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  return await Promise.all(
    servers.map(async (server) => {
      const address = server.address()
      await new Promise((resolve) => server.close(resolve))
      return typeof address === 'object' && address !== null ? address.port : 0
    }),
  )
}
