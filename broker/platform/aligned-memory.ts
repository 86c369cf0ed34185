const WASM_PAGE_BYTES = 64 * 1024

/**
 * Memory that begins on a page, as writes past the page cache need it. Node has no call for that, but the memory of a
 * WebAssembly module is laid out so. Where it cannot be had (a limit on address space: each reserves gigabytes of it), it is
 * ordinary memory, and the kernel may refuse it. Keep what you get: it is dear to make.
 */
export function alignedMemory(bytes: number): Uint8Array {
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES)
  try {
    const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
    return Buffer.from(buffer, 0, bytes)
  } catch {
    return Buffer.allocUnsafeSlow(bytes)
  }
}
