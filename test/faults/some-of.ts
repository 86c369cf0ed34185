const isLong = process.env.MILLRACE_LONG === '1'

/** Every third case of a table, all of them with MILLRACE_LONG=1. */
export const someOf = <Case>(cases: readonly Case[]): readonly Case[] =>
  isLong ? cases : cases.filter((_, index) => index % 3 === 0)
