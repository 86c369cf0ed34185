/** Durable Streams by hand: what a test asks a broker over HTTP, and what it is told. */

export interface StreamAnswer {
  readonly status: number
  readonly text: string
  readonly header: (name: string) => string | null
}

export interface StreamAsked {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

export async function askStream(
  url: string,
  method: string,
  { headers = {}, body }: StreamAsked = {},
): Promise<StreamAnswer> {
  const response = await fetch(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
  })
  const text = await response.text()
  return { status: response.status, text, header: (name) => response.headers.get(name) }
}

/** The headers of a producer's write. */
export const asProducer = (id: string, { epoch, seq }: { epoch: number; seq: number }) => ({
  'producer-id': id,
  'producer-epoch': String(epoch),
  'producer-seq': String(seq),
})

/** The record's offset in a token. */
export const offsetIn = (token: string | null): number => Number(token?.split('_')[0])
