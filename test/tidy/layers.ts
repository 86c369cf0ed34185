import { type Import, importsOf, type OwnNames, type SourceTree } from './import-graph.js'

/** What package.json says: our own import names, and the packages the broker may use. */
export interface Surroundings {
  readonly ownNames: OwnNames
  readonly dependencies: readonly string[]
}

/**
 * The broker from the ground up. A layer may import those below it; names on one line do not know each other.
 * `errors`, `platform`, `config` and `log` are below everything else, so everything else may import them.
 */
const BROKER_LAYERS: readonly (readonly string[])[] = [
  ['errors'],
  ['platform'],
  ['config'],
  ['log'],
  ['wal', 'chunks', 'manifest'],
  ['shard'],
  ['offline'],
  ['groups'],
  ['session', 'http'],
  ['listener'],
  ['broker'],
  ['cli', 'index'],
  ['main'],
]

/** What `millrace/testing` stands on. */
const SHIPPED: readonly string[] = ['testing', 'broker', 'client', 'protocol']

const NODE_PLATFORM_FILE = /^(protocol|client)\/platform\/.+-node\.ts$/

/** These files of load/k6 run in Node; the others are what k6 loads, whose engine has neither Node's modules nor packages. */
const NODE_FILE_OF_K6 = /^load\/k6\/(main|runner|bundle)\.ts$/
const isLoadedByK6 = (path: string): boolean => path.startsWith('load/k6/') && !NODE_FILE_OF_K6.test(path)

/** Every breach of the layering, each as one line that names the file and the rule. */
export function layerViolations(sources: SourceTree, surroundings: Surroundings): string[] {
  const imports = importsOf(sources, surroundings.ownNames)
  const found: string[] = []
  for (const path of sources.keys()) {
    if (path.startsWith('broker/') && brokerRank(path) === undefined) {
      found.push(`${path}: "${brokerLayer(path)}" has no place in the broker's layers (test/tidy/layers.ts)`)
    }
  }
  for (const edge of imports) {
    for (const rule of rulesBrokenBy(edge, surroundings)) {
      found.push(`${edge.from} imports ${edge.specifier}: ${rule}`)
    }
  }
  for (const cycle of cyclesIn(imports)) {
    found.push(`${cycle[0]}: import cycle ${[...cycle, cycle[0]].join(' -> ')}`)
  }
  return found
}

function* rulesBrokenBy(edge: Import, { dependencies }: Surroundings): Generator<string> {
  const folder = folderOf(edge.from)
  if (edge.problem === 'computed') yield 'an import names its module with a plain string'
  for (const target of edge.targets) {
    const rule = ruleAgainst(edge.from, target)
    if (rule !== undefined) yield rule
    else if (edge.problem === 'unresolved') yield `there is no source file ${target}`
  }
  if (edge.targets.length > 0 || edge.problem === 'computed') return
  const rule = ruleAgainstPackage({ folder, from: edge.from, specifier: edge.specifier, dependencies })
  if (rule !== undefined) yield rule
}

function ruleAgainst(from: string, target: string): string | undefined {
  const folder = folderOf(from)
  const to = folderOf(target)
  switch (folder) {
    case 'protocol':
      return to === 'protocol' ? undefined : 'protocol imports nothing of the tree but itself'
    case 'client':
      return to === 'client' || to === 'protocol' ? undefined : 'client imports only itself and protocol'
    case 'load':
      if (isLoadedByK6(from)) {
        const isPortable = to === 'protocol' || isLoadedByK6(target)
        return isPortable ? undefined : 'what k6 loads imports only itself and protocol'
      }
      return to === 'test' || to === 'examples' ? 'load imports neither tests nor examples' : undefined
    case 'testing':
      return SHIPPED.includes(to) ? undefined : 'testing imports only itself, broker, client and protocol'
    default:
      return ruleInBroker({ from, target, to })
  }
}

function ruleInBroker({
  from,
  target,
  to,
}: {
  from: string
  target: string
  to: string
}): string | undefined {
  const layer = brokerLayer(from)
  if (to === 'protocol') return undefined
  if (to === 'client') return layer === 'cli' ? undefined : 'only broker/cli/ may import the client'
  if (to !== 'broker') return 'broker imports only itself and protocol'
  const targetLayer = brokerLayer(target)
  if (layer === targetLayer) return undefined
  const rank = brokerRank(from)
  const targetRank = brokerRank(target)
  if (rank === undefined || targetRank === undefined || targetRank < rank) return undefined
  return targetRank === rank
    ? `broker/${layer} and broker/${targetLayer} are siblings and do not import each other`
    : `broker/${layer} is below broker/${targetLayer} and may not import it`
}

function ruleAgainstPackage(edge: {
  folder: string
  from: string
  specifier: string
  dependencies: readonly string[]
}): string | undefined {
  const { folder, from, specifier, dependencies } = edge
  if (isLoadedByK6(from)) {
    const isGlue = from.startsWith('load/k6/runtime/')
    return isGlue && specifier.startsWith('k6/')
      ? undefined
      : 'what k6 loads imports only modules of k6, and those only in load/k6/runtime'
  }
  if (folder === 'load') return undefined
  const name = packageName(specifier)
  if (folder === 'broker' || folder === 'testing') {
    const isKnown = specifier.startsWith('node:') || dependencies.includes(name)
    return isKnown ? undefined : `${folder} imports only node: modules and the dependencies in package.json`
  }
  if (name === 'msgpackr') return undefined
  const isNodeFile = NODE_PLATFORM_FILE.test(from)
  if (specifier.startsWith('node:')) {
    return isNodeFile ? undefined : `${folder} imports node: only in ${folder}/platform/*-node.ts`
  }
  if (folder === 'client' && name === 'ws') {
    return isNodeFile ? undefined : 'client imports ws only in client/platform/*-node.ts'
  }
  return `${folder} imports no package but msgpackr`
}

function packageName(specifier: string): string {
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}

function folderOf(path: string): string {
  return path.slice(0, path.indexOf('/'))
}

function brokerLayer(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '')
}

function brokerRank(path: string): number | undefined {
  const rank = BROKER_LAYERS.findIndex((names) => names.includes(brokerLayer(path)))
  return rank === -1 ? undefined : rank
}

/** The shortest cycle through each file that is in one; a file already named in a cycle is not named again. */
function cyclesIn(imports: readonly Import[]): string[][] {
  const next = new Map<string, Set<string>>()
  for (const { from, targets } of imports) {
    const known = next.get(from) ?? new Set()
    for (const target of targets) known.add(target)
    next.set(from, known)
  }
  const cycles: string[][] = []
  const reported = new Set<string>()
  for (const start of [...next.keys()].sort()) {
    if (reported.has(start)) continue
    const cycle = shortestCycleThrough(start, next)
    if (cycle === undefined) continue
    cycles.push(cycle)
    for (const path of cycle) reported.add(path)
  }
  return cycles
}

function shortestCycleThrough(start: string, next: ReadonlyMap<string, Set<string>>): string[] | undefined {
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (const path of queue) {
    for (const target of next.get(path) ?? []) {
      if (target === start) return trail(path, cameFrom)
      if (cameFrom.has(target)) continue
      cameFrom.set(target, path)
      queue.push(target)
    }
  }
  return undefined
}

function trail(end: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const path = [end]
  for (let step = cameFrom.get(end); step !== undefined; step = cameFrom.get(step)) path.unshift(step)
  return path
}
