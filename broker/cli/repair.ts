import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import type { LostRecords, RepairPlan } from '../offline/repair-plan.js'
import { count } from './count.js'
import { CommandFailure } from './failure.js'
import { DirectoryProgress, describeFault, describeReport, offline } from './verify.js'

interface Flags {
  readonly yes?: boolean
  readonly dryRun?: boolean
}

export function declareRepair(program: Command): void {
  program
    .command('repair <data-dir>')
    .description('Make a damaged data directory usable again, and say exactly what is lost.')
    .option('-y, --yes', 'do it without asking')
    .option('--dry-run', 'say what would be done and lost, and change nothing')
    .addHelpText('after', NOTES)
    .action(repair)
}

const NOTES = `
It first says what is damaged, what it would do and what no copy is left of; then it asks. Whatever it replaces is
kept under a name that ends in .broken, to be deleted by you. Offsets keep their places: readers pass over what is lost.

Exit codes: 0 the directory is clean now, 1 it is not, 2 this is no data directory.

Examples:
  millrace repair ./millrace-data --dry-run
  millrace repair ./millrace-data --yes`

async function repair(directory: string, { yes, dryRun }: Flags): Promise<void> {
  const [{ repairDirectory }, { nodeDisk }, { systemRandom }] = await Promise.all([
    import('../offline/repair.js'),
    import('../platform/node-disk.js'),
    import('../platform/random.js'),
  ])
  const progress = new DirectoryProgress('reading')
  const say = (text: string): void => {
    progress.clear()
    process.stdout.write(text)
  }
  const { outcome, report, broken } = await offline(() =>
    repairDirectory({
      disk: nodeDisk,
      directory,
      random: systemRandom,
      onProgress: progress.on,
      confirmResume() {
        say('an earlier repair was interrupted, and has to be finished first\n')
        return dryRun !== true
      },
      async confirm(plan) {
        say(describePlan(plan))
        if (dryRun === true) return false
        return yes === true || (await ask())
      },
    }),
  )
  if (outcome === 'refused') throw new CommandFailure('nothing was changed')
  if (outcome === 'repaired') for (const path of broken) say(`kept: ${path}\n`)
  say(describeReport(report))
  if (report.status === 'corrupt') throw new CommandFailure(`${directory} is still damaged`)
}

async function ask(): Promise<boolean> {
  if (!process.stdin.isTTY) throw new CommandFailure('say --yes to do this, or --dry-run to leave it at that')
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question('Do this? [y/N] ')).trim())
  } finally {
    terminal.close()
  }
}

/** What is damaged, what is done about it, and what is lost. */
export function describePlan(plan: RepairPlan): string {
  const lines = [...plan.faults.map(describeFault), ...describeSteps(plan).map((step) => `repair: ${step}`)]
  const lost = plan.lostRecords.map(describeLost)
  for (const { first, last, fault } of plan.lostGroups) {
    const groups = first === last ? `WAL group ${first}` : `WAL groups ${first} to ${last}`
    const where = fault === undefined ? 'missing' : `${fault.file} at byte ${fault.byteOffset}`
    lost.push(
      `${groups} (${where}): what of it stands nowhere else. Topics created or deleted and producers registered there are forgotten`,
    )
  }
  for (const { topicId, ids } of plan.lostDedupIds) {
    lost.push(
      `${count(ids, 'dedup id')} of topic ${topicId}: a record that is sent again with one of them is written again`,
    )
  }
  for (const [topicId, records] of plan.orphans) {
    lost.push(
      `${count(records, 'record')} of topic ${topicId}, whose name and encodings were in a lost WAL group`,
    )
  }
  if (lost.length === 0) lines.push('lost: nothing')
  return `${[...lines, ...lost.map((line) => `lost: ${line}`)].join('\n')}\n`
}

function describeLost({ topic, partition, from, to }: LostRecords): string {
  const offsets = to - from === 1 ? `offset ${from}` : `offsets ${from} to ${to - 1}`
  return `topic ${topic} partition ${partition}: ${offsets}, ${count(to - from, 'record')}`
}

function describeSteps({ rebuild, isIdentityBad, isMarkerBad, badSnapshots }: RepairPlan): string[] {
  const steps: string[] = []
  if (isIdentityBad) steps.push('restore identity.json from what the WAL segments and the manifest say')
  if (isMarkerBad) steps.push('take the clean-stop marker away: the next start checks as after a crash')
  if (rebuild === undefined) {
    if (badSnapshots.length > 0)
      steps.push(`set ${count(badSnapshots.length, 'damaged snapshot')} aside: the manifest is whole`)
    return steps
  }
  const { source, keepsWal, badChunks, oldSegments } = rebuild
  if (source === 'empty') steps.push('rebuild the manifest from the WAL, which reaches back to its beginning')
  else if (source === 'manifest') steps.push('write the manifest anew, with a new snapshot')
  else steps.push(`rebuild the manifest from ${source.snapshot} and the WAL`)
  if (badChunks.size > 0)
    steps.push(`replace ${count(badChunks.size, 'damaged chunk')} by what is left of the records`)
  if (oldSegments.length > 0)
    steps.push(`set ${count(oldSegments.length, 'WAL segment')} aside that nothing needs any more`)
  if (!keepsWal) steps.push('move what the WAL still holds into chunks, and begin a new WAL')
  return steps
}
