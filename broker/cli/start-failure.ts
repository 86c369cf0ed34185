import { isIPv4 } from 'node:net'
import type { BrokerConfig } from '../config/schema.js'
import { DiskError } from '../platform/disk.js'
import { describeFailure } from './failure.js'

/** One line that says why a broker did not start, and what to do about it. */
export function describeStartFailure(error: unknown, { host, port, dataDir }: BrokerConfig): string {
  if (error instanceof DiskError) return `cannot use the data directory ${dataDir}: ${describeFailure(error)}`
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    return `port ${port} on ${host} is in use: stop what listens there, or choose another with --port`
  }
  if (code === 'EADDRNOTAVAIL' || (syscall === 'getaddrinfo' && code !== undefined)) {
    return `cannot listen on ${host}: it is no address of this machine (${code}); see --host`
  }
  if (code === 'EACCES' && syscall === 'listen')
    return `not allowed to listen on port ${port} of ${host}; see --port`
  if (code !== undefined && FILE_ERRORS.has(code))
    return `cannot use the data directory ${dataDir}: ${describeFailure(error)}`
  return describeFailure(error)
}

const FILE_ERRORS = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'ENOSPC', 'EDQUOT', 'EIO'])

/** Whether only this machine can reach what listens on `host`. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  return bare === 'localhost' || bare === '::1' || (isIPv4(bare) && bare.startsWith('127.'))
}
