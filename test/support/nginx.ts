import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from './until.js'

/** Debian's is not on everybody's path. */
const PLACES = ['nginx', '/usr/sbin/nginx']

/** How to start nginx; undefined where there is none. */
export const nginxCommand: string | undefined = PLACES.find((place) => {
  try {
    execFileSync(place, ['-v'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})

/** A caching proxy before a broker, configured as docs/HTTP.md advises. */
export class CachingProxy {
  readonly port: number
  readonly #directory: string
  readonly #process: ChildProcess

  private constructor(port: number, directory: string, process: ChildProcess) {
    this.port = port
    this.#directory = directory
    this.#process = process
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  static async start({ brokerPort }: { brokerPort: number }): Promise<CachingProxy> {
    if (nginxCommand === undefined) throw new Error('there is no nginx')
    const directory = await mkdtemp(join(tmpdir(), 'millrace-nginx-'))
    const port = await freePort()
    await mkdir(join(directory, 'cache'))
    await writeFile(join(directory, 'nginx.conf'), configuration({ directory, port, brokerPort }))
    const child = spawn(
      nginxCommand,
      ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')],
      {
        stdio: 'ignore',
      },
    )
    const proxy = new CachingProxy(port, directory, child)
    try {
      await until(() => isAnswering(proxy.url), { timeoutMs: 30_000 })
      return proxy
    } catch (error) {
      await proxy.stop()
      throw error
    }
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const gone = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()))
      this.#process.kill('SIGTERM')
      await gone
    }
    await rm(this.#directory, { recursive: true, force: true })
  }
}

const isAnswering = (url: string): Promise<boolean> =>
  fetch(`${url}/livez`).then(
    ({ ok }) => ok,
    () => false,
  )

/** nginx cannot choose one by itself. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** One process, in the foreground, which touches nothing outside its directory. */
const configuration = ({
  directory,
  port,
  brokerPort,
}: {
  directory: string
  port: number
  brokerPort: number
}): string => `
daemon off;
master_process off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  proxy_cache_path ${directory}/cache keys_zone=chunks:1m max_size=64m inactive=1h use_temp_path=off;
  server {
    listen 127.0.0.1:${port};
    location /v1/chunks/ {
      proxy_pass http://127.0.0.1:${brokerPort};
      proxy_http_version 1.1;
      proxy_cache chunks;
      proxy_cache_lock on;
      # One copy for all: the path names the bytes, and these headers could only choose another form of them.
      proxy_set_header Accept-Encoding "";
      proxy_set_header Origin "";
      proxy_ignore_headers Vary;
      add_header X-Cache $upstream_cache_status;
    }
    location / {
      proxy_pass http://127.0.0.1:${brokerPort};
      proxy_http_version 1.1;
      proxy_buffering off;
    }
  }
}
`
