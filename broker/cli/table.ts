/** Stands for a number that there is not. */
export const NONE = '-'

/** Rows as aligned columns; numbers to the right. The first row is the heading. */
export function columns(rows: readonly (readonly (string | number)[])[]): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, String(cell).length)
  }
  const isNumber = (column: number) =>
    rows.slice(1).some((row) => typeof row[column] === 'number') &&
    rows.slice(1).every((row) => typeof row[column] === 'number' || row[column] === NONE)
  const numeric = widths.map((_, i) => isNumber(i))
  return rows
    .map((row) => {
      const cells = row.map((cell, i) => {
        const width = widths[i] ?? 0
        return numeric[i] ? String(cell).padStart(width) : String(cell).padEnd(width)
      })
      return `${cells.join('  ').trimEnd()}\n`
    })
    .join('')
}
