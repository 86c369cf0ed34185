import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { GroupsFace, Membership, Refusals } from '../groups/groups-face.js'
import { GroupLink, type GroupLinkOptions } from './group-link.js'

type Arguments<Name extends keyof GroupsFace> = Parameters<GroupsFace[Name]>[0]
type Answer<Name extends keyof GroupsFace> = ReturnType<GroupsFace[Name]>

/**
 * The groups as one connection may use them: it speaks for its own members, as long as they are members. A client whose
 * member was expelled, or taken over by a newer connection, changes nothing.
 */
export class SessionGroups implements Omit<GroupsFace, 'join'> {
  readonly #groups: GroupsFace
  readonly #options: () => Omit<GroupLinkOptions, 'onEnd'>
  readonly #links = new Map<string, GroupLink>()
  /** Of members that are on their way in. */
  readonly #joining = new Set<GroupLink>()

  /** `options` is asked when somebody joins: the client has a name by then. */
  constructor(groups: GroupsFace, options: () => Omit<GroupLinkOptions, 'onEnd'>) {
    this.#groups = groups
    this.#options = options
  }

  /** `answer` is called before anything else goes to the member. Rejects with LIMIT_REACHED, too. */
  async join(args: Arguments<'join'>, answer: (joined: Awaited<Answer<'join'>>) => void): Promise<void> {
    const { membersPerConnectionMax } = HARD_LIMITS
    if (this.#links.size + this.#joining.size >= membersPerConnectionMax)
      throw new MillraceError('LIMIT_REACHED', {
        message: `the connection has ${membersPerConnectionMax} members, as many as are allowed`,
      })
    const link: GroupLink = new GroupLink({ ...this.#options(), onEnd: () => this.#forget(link) })
    this.#joining.add(link)
    try {
      const joined = await this.#groups.join(args, link)
      const membership = { groupId: joined.groupId, memberId: args.memberId }
      answer(joined)
      // Unless it has been expelled already: then the messages that wait say so.
      if (this.#joining.has(link)) this.#links.set(nameOf(membership), link)
      link.joined(membership, joined.sessionTimeoutMs)
    } catch (error) {
      link.close()
      throw error
    } finally {
      this.#joining.delete(link)
    }
  }

  leave(membership: Membership): Promise<void> {
    if (!this.#isMember(membership)) return Promise.resolve()
    const left = this.#groups.leave(membership)
    const link = this.#links.get(nameOf(membership))
    this.#links.delete(nameOf(membership))
    link?.close()
    return left
  }

  revoked(args: Arguments<'revoked'>): void {
    if (this.#isMember(args)) this.#groups.revoked(args)
  }

  ack(args: Arguments<'ack'>): Promise<Refusals> {
    if (this.#isMember(args)) return this.#groups.ack(args)
    return Promise.resolve(args.acks.map((_, index) => ({ index, code: 'FENCED' })))
  }

  async deadLetter(args: Arguments<'deadLetter'>): Promise<{ dlqOffset: number }> {
    if (!this.#isMember(args)) throw new MillraceError('FENCED')
    return this.#groups.deadLetter(args)
  }

  queueCredit(args: Arguments<'queueCredit'>): void {
    if (this.#isMember(args)) this.#groups.queueCredit(args)
  }

  queueStarted(args: Arguments<'queueStarted'>): void {
    if (this.#isMember(args)) this.#groups.queueStarted(args)
  }

  async queueSettle(args: Arguments<'queueSettle'>): Promise<Awaited<Answer<'queueSettle'>>> {
    if (!this.#isMember(args)) throw new MillraceError('UNKNOWN_MEMBER')
    return this.#groups.queueSettle(args)
  }

  list(args: Arguments<'list'>): Answer<'list'> {
    return this.#groups.list(args)
  }

  describe(args: Arguments<'describe'>): Answer<'describe'> {
    return this.#groups.describe(args)
  }

  reset(args: Arguments<'reset'>): Answer<'reset'> {
    return this.#groups.reset(args)
  }

  deleteGroup(args: Arguments<'deleteGroup'>): Answer<'deleteGroup'> {
    return this.#groups.deleteGroup(args)
  }

  dlqReplay(args: Arguments<'dlqReplay'>): Answer<'dlqReplay'> {
    return this.#groups.dlqReplay(args)
  }

  dlqPurge(args: Arguments<'dlqPurge'>): Answer<'dlqPurge'> {
    return this.#groups.dlqPurge(args)
  }

  /** The connection is gone. */
  closeAll(): void {
    const links = [...this.#links.values(), ...this.#joining]
    this.#links.clear()
    this.#joining.clear()
    for (const link of links) link.close()
  }

  #isMember(membership: Membership): boolean {
    return this.#links.has(nameOf(membership))
  }

  #forget(link: GroupLink): void {
    this.#joining.delete(link)
    for (const [name, each] of this.#links) if (each === link) this.#links.delete(name)
  }
}

const nameOf = ({ groupId, memberId }: Membership): string => `${groupId}/${memberId}`
