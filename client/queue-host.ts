/** What a worker's membership tells the loop that it serves. */
export interface QueueMembershipHost {
  /** There are jobs to take. */
  arrived(): void
  /** One job less is in hand. */
  settled(): void
  /** It cannot go on. */
  failed(error: unknown): void
}
