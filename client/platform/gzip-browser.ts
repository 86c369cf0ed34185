export function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  return through(bytes, new CompressionStream('gzip'), Number.POSITIVE_INFINITY)
}

/** Rejects when `bytes` are no gzip or inflate to more than `bytesMax`. */
export function gunzip(bytes: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  return through(bytes, new DecompressionStream('gzip'), bytesMax)
}

async function through(
  bytes: Uint8Array,
  transform: CompressionStream | DecompressionStream,
  bytesMax: number,
): Promise<Uint8Array> {
  const reader = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(transform).getReader()
  const pieces: Uint8Array[] = []
  let length = 0
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    length += piece.value.length
    if (length > bytesMax) {
      await reader.cancel()
      throw new RangeError(`inflates to more than ${bytesMax} bytes`)
    }
    pieces.push(piece.value)
  }
  return joined(pieces, length)
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
