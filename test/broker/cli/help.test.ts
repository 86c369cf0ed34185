import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { createProgram } from '../../../broker/cli/program.js'
import { flagOf, SETTING_NAMES } from '../../../broker/config/settings.js'
import { Cli, millrace } from '../../support/cli.js'

const root = join(import.meta.dirname, '../../..')

/** Every command that can be run, with the words that lead to it. */
function leaves(
  command: Command,
  path: readonly string[] = [],
): { path: readonly string[]; command: Command }[] {
  if (command.commands.length === 0) return [{ path, command }]
  return command.commands.flatMap((child) => leaves(child, [...path, child.name()]))
}

function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: (part) => {
      text += part
    },
  })
  command.outputHelp()
  return text
}

describe('the command line', () => {
  it('has help with an example for every command', () => {
    const commands = leaves(createProgram())
    expect(commands.map(({ path }) => path.join(' '))).toEqual([
      'start',
      'topic create',
      'topic list',
      'topic describe',
      'topic alter',
      'topic delete',
      'topic delete-before',
      'produce',
      'consume',
      'group list',
      'group describe',
      'group reset',
      'group delete',
      'dlq list',
      'dlq replay',
      'dlq purge',
      'verify',
      'repair',
    ])
    for (const { path, command } of commands) {
      const help = helpOf(command)
      expect(help, path.join(' ')).toMatch(new RegExp(`Examples:\\n.*millrace ${path.join(' ')}`))
      expect(help).toContain('--verbose')
    }
  })

  it('documents every command and every option that is no setting in docs/CLI.md', () => {
    const sections = readFileSync(join(root, 'docs/CLI.md'), 'utf8').split('\n## ')
    const settings = SETTING_NAMES.map(flagOf)
    for (const { path, command } of leaves(createProgram())) {
      const section = sections.find((text) => text.startsWith(`millrace ${path.join(' ')}\n`))
      expect(section, path.join(' ')).toContain(`\nmillrace ${path.join(' ')}`)
      for (const { long } of command.options) {
        if (long != null && !settings.includes(long)) expect(section).toContain(`${long}`)
      }
    }
  })

  it('offers every setting as a flag of start', () => {
    const start = createProgram().commands.find((command) => command.name() === 'start')
    const flags = start?.options.map((option) => option.long)
    expect(flags?.toSorted()).toEqual(['--config', ...SETTING_NAMES.map(flagOf)].toSorted())
  })

  it('prints help and version on stdout with exit code 0', async () => {
    const help = await millrace(['--help'])
    expect({ code: help.code, stderr: help.stderr }).toEqual({ code: 0, stderr: '' })
    expect(help.stdout.toString()).toContain('Usage: millrace')
    expect((await millrace(['--version'])).stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it('ends quietly when the reader of its help has enough', async () => {
    const cli = new Cli(['start', '--help'])
    cli.process.stdout?.destroy()
    expect(await cli.finished).toMatchObject({ code: 0, stderr: '' })
  })

  it('answers an unknown command or option in one line with what may be meant, with exit code 2', async () => {
    const command = await millrace(['strat'])
    expect(command).toMatchObject({
      code: 2,
      stderr: "millrace: unknown command 'strat' (Did you mean start?)\n",
    })
    const option = await millrace(['start', '--prt', '1'])
    expect(option).toMatchObject({
      code: 2,
      stderr: "millrace: unknown option '--prt' (Did you mean --port?)\n",
    })
  })

  it('loads neither the broker nor the client for its help', () => {
    const main = join(root, 'dist/broker/main.js')
    const script = `
      process.argv = ['node', 'millrace', '--help']
      await import(${JSON.stringify(main)})
      const { createRequire } = await import('node:module')
      console.error(Object.keys(createRequire(${JSON.stringify(main)}).cache).join('\\n'))`
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    expect(stderr).toContain('/commander/')
    expect(stderr).not.toMatch(/node_modules\/(ws|pino|lmdb|fastify)\//)
  })
})
