import { parseSync } from 'vite'
import { describe, expect, it } from 'vitest'
import { bundleScenario, FLAVOURS, type Flavour, flavourFor } from '../../../load/k6/bundle.js'
import { SCENARIOS } from '../../../load/k6/catalogue.js'

const MODULES: Readonly<Record<string, readonly string[]>> = {
  stable: ['k6/metrics', 'k6/timers', 'k6/websockets'],
  experimental: ['k6/experimental/websockets', 'k6/metrics', 'k6/timers'],
  'experimental-timers': ['k6/experimental/timers', 'k6/experimental/websockets', 'k6/metrics'],
}

type Node = Readonly<Record<string, unknown>> & { readonly type: string }

function nodesOf(value: unknown, found: Node[] = []): Node[] {
  if (Array.isArray(value)) for (const item of value) nodesOf(item, found)
  else if (typeof value === 'object' && value !== null) {
    if (typeof (value as Node).type === 'string') found.push(value as Node)
    for (const child of Object.values(value)) nodesOf(child, found)
  }
  return found
}

/**
 * Names that k6 does not have and the scripts have no use for. TextEncoder, TextDecoder and Buffer are used where they are
 * there: that the scripts do without them is shown by running them in a realm that has none (scenarios.test.ts).
 */
const HOST_GLOBALS = [
  'crypto',
  'performance',
  'process',
  'require',
  'module',
  'structuredClone',
  'BigInt64Array',
]

/** Uses of those names as variables, not as the names of properties. */
function hostGlobalsIn(program: unknown): string[] {
  const properties = new Set<unknown>()
  const nodes = nodesOf(program)
  for (const node of nodes) {
    if (node.type === 'MemberExpression' && node.computed !== true) properties.add(node.property)
    if (node.type === 'Property' && node.computed !== true) properties.add(node.key)
  }
  return nodes
    .filter((node) => node.type === 'Identifier' && !properties.has(node))
    .map(({ name }) => String(name))
    .filter((name) => HOST_GLOBALS.includes(name))
}

async function parsed(name: string, flavour: Flavour): Promise<unknown> {
  const { program, errors } = parseSync(`${name}.js`, await bundleScenario(name, flavour))
  expect(errors).toEqual([])
  return program
}

describe('the bundle of a scenario', () => {
  for (const flavour of FLAVOURS) {
    it(`imports nothing but the modules of k6, in the flavour "${flavour.name}"`, async () => {
      for (const { name } of SCENARIOS) {
        const imports = nodesOf(await parsed(name, flavour))
          .filter(({ type }) => /^(Import|Export)(Declaration|AllDeclaration|Expression)$/.test(type))
          .map(({ source }) => (source as { value: string }).value)
        expect([...new Set(imports)].sort(), name).toEqual(MODULES[flavour.name])
      }
    })

    it(`needs no engine beyond ES2015 and no global of a host, in the flavour "${flavour.name}"`, async () => {
      const program = await parsed('mixed', flavour)
      const later = nodesOf(program).filter(
        ({ type, async, generator, operator }) =>
          async === true ||
          generator === true ||
          operator === '**' ||
          /^(AwaitExpression|ChainExpression|PropertyDefinition|PrivateIdentifier|StaticBlock)$/.test(type),
      )
      expect(later.map(({ type }) => type)).toEqual([])
      expect(hostGlobalsIn(program)).toEqual([])
    })
  }

  it('is seen to use a global that is not there', () => {
    const { program } = parseSync('a.js', `performance.now(); a.crypto; ({ process: 1 })`)
    expect(hostGlobalsIn(program)).toEqual(['performance'])
  })
})

describe('the flavour', () => {
  it.each([
    ['k6 v2.3.0 (commit/abc, go1.26.1, linux/amd64)', 'stable'],
    ['k6 v1.6.0 (commit/abc, go1.24.1, linux/amd64)', 'stable'],
    ['k6 v1.5.9 (commit/abc, go1.24.1, linux/amd64)', 'experimental'],
    ['k6.exe v0.50.0 (commit/abc, go1.21.8, windows/amd64)', 'experimental'],
    ['k6 v0.49.0 (commit/abc, go1.21.6, linux/amd64)', 'experimental-timers'],
    ['k6 v0.47.0 (2023-10-02T00:00:00+0000/v0.47.0-0-gabc, go1.20.8, linux/amd64)', 'experimental-timers'],
    ['k6 v0.46.0 (2023-08-14T13:23:26+0000/v0.46.0-0-gabc, go1.20.7, linux/amd64)', undefined],
    ['something else', undefined],
  ])('for "%s" is %s', (output, name) => {
    expect(flavourFor(output)?.name).toBe(name)
  })
})
