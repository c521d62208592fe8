/**
 * Taking the jobs of one action: one consumer group for each.
 *
 * Rule 1: an offset is committed ahead of execution. A job that kills its process is not delivered again by Kafka; the
 *         orchestrator misses it in the heartbeats and decides.
 * Rule 2: from an assignment to the first confirmed commit, a partition's jobs start only after their commit is confirmed. After
 *         that they start as soon as they are read, and what they have claimed is committed ten times a second without waiting.
 *         A member that has not been heard of for a session waits too: its partitions may be another's.
 * Rule 3: what is committed is the first offset that has not been started; records of other actions count as passed.
 * Rule 4: a worker without a free place lets jobs wait, up to a number, and serves its groups. After two seconds it gives its
 *         partitions to the others of the group, if there are any.
 * Rule 5: no job of a partition is started once the partition is to be given up, nor any once the worker was told to leave; then
 *         what was started is committed, and only then the group is joined anew.
 */

import type { Logger } from "../logging.js";
import { now, Wake } from "../waiting.js";
import { type Cluster, codesOf, NoTopicError, reasonOf } from "./cluster.js";
import { Membership, type Word } from "./membership.js";
import { Offsets, whereToBegin } from "./offsets.js";
import { type Reader, Share } from "./reader.js";
import type { KafkaJob } from "./records.js";
import { groupOf, type KafkaSettings, topicOf } from "./settings.js";
import type { Slots } from "./slots.js";

const SERVE_EVERY_MS = 100;
const COMMIT_EVERY_MS = 100;
const COMMIT_PASSED_EVERY_MS = 1_000;
const SHED_AFTER_MS = 2_000;
const SHED_AFTER_MS_MAX = 32_000;
const SHED_IS_SHORT_MS = 30_000;
const RETRY_MS = 500;
const LOOK_AT_TOPIC_EVERY_MS = 30_000;
const LEAVE_MS = 2_000;

/** Why a stay in the group ends: a word of the broker, no free place, or that the worker leaves. */
type Ending = Exclude<Word, "ok"> | "away" | "stop";

export interface ConsumerParts {
  readonly settings: KafkaSettings;
  /** Connections of this consumer's own: joining a group keeps one busy. */
  readonly cluster: Cluster;
  readonly reader: Reader;
  readonly slots: Slots;
  readonly logger: Logger;
  /** Takes jobs whose places are taken and whose offsets are safe. */
  readonly handOver: (jobs: readonly KafkaJob[]) => void;
}

/** Claims the jobs of one action as places get free, and hands them over. */
export class ActionConsumer {
  readonly #action: string;
  readonly #topic: string;
  readonly #parts: ConsumerParts;
  readonly #member: Membership;
  readonly #share: Share;
  readonly #offsets: Offsets;
  readonly #stirred = new Wake({ keep: true });
  readonly #abort = new AbortController();
  readonly #told = new Set<string>();
  #ending: Ending | undefined = "stop"; // undefined while this is a member with partitions
  #isStopping = false;
  #isClaiming = false; // jobs wait for their commit
  #isAway = false;
  #returnsWhenIdle = false;
  #awaySince = 0;
  #heardAt = 0;
  #fullSince: number | undefined;
  #shedAfter = SHED_AFTER_MS;
  #hasClaimed = false;
  #committedAt = 0;

  constructor(action: string, parts: ConsumerParts) {
    const { settings, cluster, reader } = parts;
    this.#action = action;
    this.#topic = topicOf(settings, action);
    this.#parts = parts;
    this.#member = new Membership(cluster, {
      group: groupOf(settings, action),
      topic: this.#topic,
      sessionMs: settings.numbers["session.timeout.ms"],
      rebalanceMs: Math.max(settings.numbers["max.poll.interval.ms"], settings.numbers["session.timeout.ms"]),
    });
    this.#share = new Share(action, this.#topic, () => this.#arrived());
    this.#offsets = new Offsets(reader, this.#share);
    reader.add(this.#share);
  }

  /** Places were given back. */
  stir(): void {
    if (this.#isAway) this.#stirred.notify();
    else if (this.#share.pending.length > 0) this.#arrived();
  }

  /** From now on no job is handed over; `run` commits, leaves the group and ends. */
  stop(): void {
    this.#isStopping = true;
    this.#ending ??= "stop";
    this.#abort.abort();
    this.#stirred.notify();
  }

  /** Be a member until stopped. Never rejects for what a broker says. */
  async run(): Promise<void> {
    while (!this.#isStopping) {
      if (this.#isAway) await this.#waitToReturn();
      else await this.#stay();
    }
    await this.#leave();
    await this.#parts.cluster.close();
  }

  // ------------------------------------------------------------ the group

  /** Join, take what there is until something ends it, and give the partitions up in good order. */
  async #stay(): Promise<void> {
    let partitions: readonly number[];
    try {
      partitions = await this.#member.join(this.#abort.signal);
    } catch (error) {
      if (!this.#isStopping) await this.#couldNot("joining the group", error);
      return;
    }
    this.#heardAt = now();
    this.#ending = this.#isStopping ? "stop" : undefined;
    const stay = { isOver: false, wake: new Wake({ keep: true }) };
    const beating = this.#beat(stay);
    try {
      const starts = await whereToBegin(this.#parts.cluster, this.#member, this.#topic, partitions);
      if (this.#ending === undefined) this.#offsets.takeUp(starts);
      while (this.#ending === undefined) await this.#step();
    } catch (error) {
      this.#ending ??= "rebalance";
      await this.#couldNot("finding where to begin", error);
    }
    const ending = this.#ending as Ending;
    if (ending !== "lost") await this.#commitAndWait(this.#offsets.unconfirmed());
    this.#offsets.letGo();
    this.#parts.slots.withdraw(this);
    stay.isOver = true;
    stay.wake.notify();
    await beating;
    if (ending === "away") await this.#leave();
  }

  /** Beat until the stay is over. Never rejects. */
  async #beat(stay: { readonly isOver: boolean; readonly wake: Wake }): Promise<void> {
    const { numbers } = this.#parts.settings;
    const session = numbers["session.timeout.ms"];
    let lookedAt = now();
    while (this.#ending !== "lost") {
      await stay.wake.pause(numbers["heartbeat.interval.ms"]);
      if (stay.isOver) return;
      try {
        const sentAt = now();
        const word = await this.#member.heartbeat(session / 2);
        if (word === "ok") this.#heardAt = sentAt;
        else this.#end(word);
        if (now() > lookedAt + LOOK_AT_TOPIC_EVERY_MS) {
          lookedAt = now();
          if (await this.#member.hasChanged()) this.#end("rebalance");
        }
      } catch (error) {
        this.#parts.logger.debug(`a heartbeat to the group of ${this.#action}: ${reasonOf(error)}`);
        if (!this.#isHeard()) this.#end("lost");
      }
    }
  }

  #end(why: Ending): void {
    this.#ending ??= why;
    this.#stirred.notify();
  }

  /** Whether the broker still takes this member for alive, as far as is known. */
  #isHeard(): boolean {
    return now() < this.#heardAt + this.#parts.settings.numbers["session.timeout.ms"];
  }

  async #leave(): Promise<void> {
    try {
      await this.#member.leave(LEAVE_MS);
    } catch (error) {
      this.#parts.logger.debug(`leaving the group of ${this.#action}: ${reasonOf(error)}`);
    }
  }

  /** Say once, for each kind of error, that the group does not work; and wait before the next try. */
  async #couldNot(what: string, error: unknown): Promise<void> {
    const code = codesOf(error)[0] ?? (error instanceof NoTopicError ? "topic" : undefined);
    // What passes by itself, and trouble with the network, which the session tells, are nobody's concern.
    const passing = ["REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "NOT_COORDINATOR"];
    const isPassing = code === undefined || passing.includes(code) || code.startsWith("COORDINATOR_");
    const isNew = !isPassing && !this.#told.has(code);
    if (code !== undefined) this.#told.add(code);
    this.#parts.logger[isNew ? "warn" : "debug"](`the jobs of ${this.#action}: ${what}: ${reasonOf(error)}`);
    const isSoon = code === "REBALANCE_IN_PROGRESS" || code === "UNKNOWN_MEMBER_ID" || code === "ILLEGAL_GENERATION";
    if (!this.#isStopping) await this.#stirred.pause(isSoon ? SERVE_EVERY_MS : RETRY_MS);
  }

  // ------------------------------------------------------------ claiming

  async #step(): Promise<void> {
    const moment = now();
    this.#commitIfDue(moment);
    const { slots } = this.#parts;
    if ((this.#share.pending.length > 0 && (await this.#claim())) || slots.wouldGive(this)) {
      this.#fullSince = undefined;
      if (this.#share.pending.length === 0 && this.#ending === undefined) await this.#stirred.pause(SERVE_EVERY_MS);
    } else if (this.#ending === undefined) {
      await this.#hold(moment);
    }
  }

  /** Jobs have just been read, or places given back: start what may start at once. */
  #arrived(): void {
    if (this.#ending !== undefined) return;
    // Never past jobs that wait for their commit: those may become pending again, and what is committed goes back to them.
    if (!this.#isClaiming && this.#unsafeOf(this.#share.pending).size === 0) this.#start(this.#take());
    if (this.#share.pending.length > 0) this.#stirred.notify();
  }

  /** Hand over the pending jobs that there are places for; false when there is none. */
  async #claim(): Promise<boolean> {
    const { slots } = this.#parts;
    const [first] = this.#share.pending;
    if (first === undefined) return false;
    if (first.isAlone && !slots.takeAll(this)) return false;
    const jobs = first.isAlone ? this.#share.pending.splice(0, 1) : this.#take();
    if (jobs.length === 0) return false;
    const unsafe = first.isAlone ? new Set([first.place.partition]) : this.#unsafeOf(jobs);
    const changes = new Map([...this.#offsets.changes()].filter(([partition]) => unsafe.has(partition)));
    this.#isClaiming = true;
    const isConfirmed = await this.#commitAndWait(changes);
    this.#isClaiming = false;
    if (isConfirmed && !this.#isStopping) {
      this.#start(jobs);
      return true;
    }
    // Still pending means still this worker's: nobody else can get them before the partition is given up, and then they are
    // dropped here. Trying again is therefore no second execution.
    this.#share.pending.unshift(...jobs);
    if (first.isAlone) slots.giveBackAll();
    else slots.giveBack(jobs.length);
    slots.withdraw(this);
    if (this.#ending === undefined) await this.#stirred.pause(RETRY_MS);
    return false;
  }

  /** The partitions whose commit has to be waited for before these jobs start. */
  #unsafeOf(jobs: readonly KafkaJob[]): Set<number> {
    const { unsafe } = this.#offsets;
    const isAll = this.#parts.settings.isStrict || !this.#isHeard();
    if (unsafe.size === 0 && !isAll) return unsafe;
    return new Set(jobs.map(({ place }) => place.partition).filter((partition) => isAll || unsafe.has(partition)));
  }

  /** Take the jobs at the head that there are places for; their places are taken with them. */
  #take(): KafkaJob[] {
    const { pending } = this.#share;
    const { slots } = this.#parts;
    const alone = pending.findIndex((job) => job.isAlone);
    const count = slots.take(alone < 0 ? pending.length : alone);
    return pending.splice(0, count);
  }

  #start(jobs: readonly KafkaJob[]): void {
    if (jobs.length === 0) return;
    this.#hasClaimed = true;
    this.#parts.handOver(jobs);
    this.#parts.reader.madeRoom();
  }

  // ------------------------------------------------------------ no place

  /** Wait for a place. */
  async #hold(moment: number): Promise<void> {
    this.#fullSince ??= moment;
    // Only a record that waits shows that others could do something. Where so many wait that none is read any more, and none
    // is started, nobody knows what is behind them.
    const since = this.#share.pending.length > 0 ? this.#fullSince : this.#parts.reader.fullSince;
    const { count } = this.#member;
    const hasOthers = this.#offsets.size < count || count === 1;
    if (since === undefined || moment < since + this.#shedAfter || !hasOthers) {
      await this.#stirred.pause(SERVE_EVERY_MS);
      return;
    }
    const seconds = this.#shedAfter / 1_000;
    this.#parts.logger.debug(`no place for the jobs of ${this.#action} for ${seconds} s: leaving them to others`);
    this.#returnsWhenIdle = this.#share.pending[0]?.isAlone === true;
    this.#isAway = true;
    this.#awaySince = moment;
    this.#end("away");
  }

  async #waitToReturn(): Promise<void> {
    const { slots } = this.#parts;
    if (!(this.#returnsWhenIdle ? slots.isIdle : slots.wouldGive(this))) {
      await this.#stirred.pause(SERVE_EVERY_MS);
      return;
    }
    // A worker that is full again in a moment would make the whole group rebalance over and over.
    const wasShort = now() - this.#awaySince < SHED_IS_SHORT_MS;
    this.#shedAfter = wasShort ? Math.min(SHED_AFTER_MS_MAX, this.#shedAfter * 2) : SHED_AFTER_MS;
    this.#fullSince = undefined;
    this.#isAway = false;
  }

  // ------------------------------------------------------------ offsets

  #commitIfDue(moment: number): void {
    const every = this.#hasClaimed ? COMMIT_EVERY_MS : COMMIT_PASSED_EVERY_MS;
    if (moment < this.#committedAt + every) return;
    this.#committedAt = moment;
    this.#hasClaimed = false;
    const changes = this.#offsets.changes();
    if (changes.size === 0) return;
    this.#offsets.expect(changes);
    this.#member.commit(changes).then(
      () => this.#offsets.confirm(changes),
      (error: unknown) => {
        this.#parts.logger.debug(`committing offsets of ${this.#action}: ${reasonOf(error)}`);
        this.#offsets.doubt(changes);
        this.#hasClaimed = true;
      },
    );
  }

  /** Whether the broker has confirmed it. */
  async #commitAndWait(changes: ReadonlyMap<number, number>): Promise<boolean> {
    if (changes.size === 0) return true;
    try {
      await this.#member.commit(changes);
    } catch (error) {
      this.#parts.logger.debug(`committing offsets of ${this.#action}: ${reasonOf(error)}`);
      this.#offsets.forget(changes);
      return false;
    }
    this.#offsets.confirm(changes);
    return true;
  }
}
