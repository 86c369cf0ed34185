/** The known name that `name` was most likely meant to be; undefined when none is near. */
export function similarTo(name: string, known: readonly string[]): string | undefined {
  const bare = (text: string) => text.toLowerCase().replace(/[_-]/g, '')
  let best: { name: string; distance: number } | undefined
  for (const candidate of known) {
    const distance = editDistance(bare(name), bare(candidate))
    if (distance <= 2 && distance < (best?.distance ?? Number.POSITIVE_INFINITY)) {
      best = { name: candidate, distance }
    }
  }
  return best?.name
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(row[j - 1]! + 1, previous[j]! + 1, substitution))
    }
    previous = row
  }
  return previous[b.length]!
}
