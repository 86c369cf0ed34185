import { posix } from 'node:path'
import { parseSync } from 'vite'

/** Repository path (with forward slashes) to source text. */
export type SourceTree = ReadonlyMap<string, string>

/** What a bare specifier of our own stands for: `#crc32` has one target per condition. */
export type OwnNames = ReadonlyMap<string, readonly string[]>

/** One import, re-export, dynamic import, type import or worker URL. */
export interface Import {
  readonly from: string
  readonly specifier: string
  /** Repository paths this import leads to; empty for packages and `node:` modules. */
  readonly targets: readonly string[]
  readonly problem?: 'unresolved' | 'computed'
}

const COMPUTED = '(computed)'

/** Reads every import of every file. Type-only imports count: they bind the reader as much as the others. */
export function importsOf(sources: SourceTree, ownNames: OwnNames): Import[] {
  const imports: Import[] = []
  for (const [from, text] of sources) {
    for (const specifier of specifiersIn(from, text))
      imports.push(resolve({ from, specifier }, sources, ownNames))
  }
  return imports
}

function resolve(edge: { from: string; specifier: string }, sources: SourceTree, ownNames: OwnNames): Import {
  const { from, specifier } = edge
  if (specifier === COMPUTED) return { ...edge, targets: [], problem: 'computed' }
  const own = ownNames.get(specifier)
  if (own !== undefined) return { ...edge, targets: own }
  if (!specifier.startsWith('.')) return { ...edge, targets: [] }
  const path = posix.join(posix.dirname(from), specifier)
  const target = [path.replace(/\.js$/, '.ts'), path].find((candidate) => sources.has(candidate))
  // A file outside the source folders (a test, say) is still named, so that the rules can refuse it.
  if (target === undefined) return { ...edge, targets: [path], problem: 'unresolved' }
  return { ...edge, targets: [target] }
}

function specifiersIn(path: string, text: string): string[] {
  const { program, errors } = parseSync(path, text)
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`)
  const found: string[] = []
  collect(program, found)
  return found
}

type Node = Readonly<Record<string, unknown>> & { readonly type: string }

function collect(value: unknown, found: string[]): void {
  if (Array.isArray(value)) {
    for (const item of value) collect(item, found)
  } else if (isNode(value)) {
    const source = importSource(value)
    if (source !== undefined) found.push(source)
    for (const child of Object.values(value)) collect(child, found)
  }
}

function importSource(node: Node): string | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'TSImportType':
      return literal(node.source)
    case 'ExportNamedDeclaration':
      return node.source == null ? undefined : literal(node.source)
    case 'TSExternalModuleReference':
      return literal(node.expression)
    case 'NewExpression':
      return workerUrl(node)
    default:
      return undefined
  }
}

/** `new URL('./worker.js', import.meta.url)` loads code as an import does. */
function workerUrl(node: Node): string | undefined {
  const [file, base] = node.arguments as unknown[]
  if (!isNode(node.callee) || node.callee.name !== 'URL' || !isNode(base)) return undefined
  const isRelativeToModule = isNode(base.object) && base.object.type === 'MetaProperty'
  const path = literal(file)
  return isRelativeToModule && /^\..*\.js$/.test(path) ? path : undefined
}

function literal(node: unknown): string {
  if (!isNode(node)) return COMPUTED
  if (node.type === 'Literal' && typeof node.value === 'string') return node.value
  if (node.type !== 'TemplateLiteral') return COMPUTED
  const [only, ...others] = node.quasis as { value: { cooked: string } }[]
  return only !== undefined && others.length === 0 ? only.value.cooked : COMPUTED
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string'
}
