/** 128 bits as 32 hex digits. k6 has no `crypto` of browsers; ids need to differ, not to be secret. */
export function randomId<Id extends string>(): Id {
  let hex = ''
  while (hex.length < 32)
    hex += Math.floor(Math.random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, '0')
  return hex as Id
}
