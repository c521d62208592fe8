/**
 * Sending records: results that must arrive, and heartbeats.
 *
 * Rule 1: a record is kept until the brokers have acknowledged it, and sent again when they have not. It may arrive twice then,
 *         which does no harm: the first result of an attempt counts, and the last heartbeat of a worker.
 * Rule 2: results that are sent together are one request to each broker that leads partitions of theirs, whatever their partitions
 *         are (see partitions.ts). What one broker refuses is sent again; what another took is not.
 * Rule 3: a broker that finds a batch too large says so of all of it. Its records are sent again one by one; the one that is still
 *         too large is given up.
 */

import { Backoff } from "../http.js";
import type { Logger } from "../logging.js";
import { now } from "../waiting.js";
import { type Cluster, reasonOf, says } from "./cluster.js";
import { partitionOf, type Way } from "./partitions.js";
import type { Headers, KafkaJob } from "./records.js";
import type { KafkaSettings } from "./settings.js";
import type { ProduceAnswer } from "./wire.js";

const ACKS_ALL = -1;
const DELIVERY_MS = 30_000;
const ANSWER_EXTRA_MS = 5_000;
const BATCH_BYTES_MAX = 512 * 1024;
const RECORD_EXTRA_BYTES = 200;
const ON_WAY_MAX = 5;
const RETRY_MS_MAX = 2_000;
const COMPRESS_FROM_BYTES = 1_024;

/** One record on its way. */
export interface Sending {
  readonly topic: string;
  readonly key: Buffer;
  readonly value: string;
  readonly bytes: number;
  readonly headers: Headers;
  /** The job that it is the result of. */
  readonly job?: KafkaJob;
  /** Called with nothing when it has arrived, or with the error for which it is given up. Never within `send`. */
  readonly onEnd: (error?: unknown) => void;
}

/** Records of one topic, that are sent together. */
interface Batch extends Way {
  readonly sendings: readonly Sending[];
}

/** The part of a batch that went to one broker, and why it did not arrive. */
interface Part {
  readonly sendings: readonly Sending[];
  readonly error?: unknown;
}

type Message = Readonly<Record<"topic" | "key" | "value" | "headers", unknown>> & { readonly partition: number };

/** Sends to all topics of a worker. */
export class Sender {
  readonly #cluster: Cluster;
  readonly #compression: string;
  readonly #logger: Logger;
  readonly #backoff = new Backoff();
  readonly #onWay = new Set<Batch>();
  readonly #waiting: Batch[] = [];
  #turn = Math.floor(Math.random() * 1_000);
  #notBefore = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #atRest: (() => void)[] = [];

  constructor(cluster: Cluster, settings: KafkaSettings, logger: Logger) {
    this.#cluster = cluster;
    this.#compression = settings.compression;
    this.#logger = logger;
  }

  /** Whether everything has been acknowledged, or given up. */
  get isAtRest(): boolean {
    return this.#onWay.size === 0 && this.#waiting.length === 0;
  }

  /** Send results of one topic together. */
  sendTogether(sendings: readonly Sending[]): void {
    this.#turn += 1;
    const way = { turn: this.#turn, isRefused: false };
    let batch: Sending[] = [];
    let bytes = 0;
    for (const sending of sendings) {
      if (batch.length > 0 && bytes + sending.bytes > BATCH_BYTES_MAX) {
        this.#waiting.push({ ...way, sendings: batch });
        batch = [];
        bytes = 0;
      }
      batch.push(sending);
      bytes += sending.bytes + RECORD_EXTRA_BYTES;
    }
    if (batch.length > 0) this.#waiting.push({ ...way, sendings: batch });
    this.#pump();
  }

  /** Send one record to the partition of its key. */
  send(sending: Sending): void {
    this.#waiting.push({ sendings: [sending], turn: undefined, isRefused: false });
    this.#pump();
  }

  /** The jobs whose results are not acknowledged. */
  *jobs(): Generator<KafkaJob> {
    for (const { sendings } of [...this.#onWay, ...this.#waiting]) {
      for (const { job } of sendings) if (job !== undefined) yield job;
    }
  }

  /** Resolve when every record has arrived or was given up. */
  waitSent(): Promise<void> {
    return this.isAtRest || this.#isClosed ? Promise.resolve() : new Promise((resolve) => this.#atRest.push(resolve));
  }

  /** Send no more. What has not been acknowledged may be lost. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#rest();
  }

  #pump(): void {
    while (!this.#isClosed && this.#waiting.length > 0 && this.#onWay.size < ON_WAY_MAX) {
      const moment = now();
      if (moment < this.#notBefore) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#pump(), this.#notBefore - moment);
        return;
      }
      const batch = this.#waiting.shift() as Batch;
      this.#onWay.add(batch);
      void this.#make(batch);
    }
  }

  /** Never rejects. */
  async #make(batch: Batch): Promise<void> {
    const parts = await this.#produce(batch).catch((error: unknown): Part[] => [{ sendings: batch.sendings, error }]);
    this.#onWay.delete(batch);
    if (parts.every(({ error }) => error === undefined)) this.#backoff.reset();
    for (const part of parts) this.#end(batch, part);
    this.#pump();
    if (this.isAtRest) this.#rest();
  }

  #end({ turn, isRefused }: Batch, { sendings, error }: Part): void {
    if (error === undefined) {
      for (const sending of sendings) sending.onEnd();
    } else if (says(error, "MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD")) {
      if (sendings.length === 1) sendings[0]?.onEnd(error);
      else this.#waiting.unshift(...sendings.map((sending) => ({ sendings: [sending], turn, isRefused })));
    } else {
      this.#logger.debug(`sending to ${sendings[0]?.topic} again: ${reasonOf(error)}`);
      this.#cluster.forget();
      this.#notBefore = now() + Math.min(RETRY_MS_MAX, 50 + this.#backoff.next());
      this.#waiting.unshift({ sendings, turn, isRefused: isRefused || says(error, "UNKNOWN_TOPIC_OR_PARTITION") });
    }
  }

  /** Rejects when it is not known who leads the partitions. */
  async #produce(batch: Batch): Promise<Part[]> {
    const { sendings } = batch;
    const [first] = sendings;
    if (first === undefined) return [];
    const { partitions, partitionsCount } = await this.#cluster.topic(first.topic);
    const byLeader = new Map<number, { sendings: Sending[]; messages: Message[] }>();
    for (const sending of sendings) {
      const partition = partitionOf(sending, batch, partitionsCount);
      const leader = partitions[partition]?.leader ?? -1;
      const part = byLeader.get(leader) ?? { sendings: [], messages: [] };
      byLeader.set(leader, part);
      part.sendings.push(sending);
      part.messages.push({
        topic: sending.topic,
        partition,
        key: sending.key,
        value: Buffer.from(sending.value),
        headers: new Map(sending.headers.map(([name, value]) => [Buffer.from(name), Buffer.from(value)])),
      });
    }
    return Promise.all([...byLeader].map(([leader, part]) => this.#request(leader, part.sendings, part.messages)));
  }

  /** Never rejects. */
  async #request(leader: number, sendings: readonly Sending[], messages: readonly Message[]): Promise<Part> {
    const bytes = sendings.reduce((sum, sending) => sum + sending.bytes, 0);
    const options = { compression: bytes < COMPRESS_FROM_BYTES ? "none" : this.#compression };
    const args = [ACKS_ALL, DELIVERY_MS, messages, options];
    try {
      await this.#cluster.call<unknown[], ProduceAnswer>(leader, "Produce", args, {
        timeoutMs: DELIVERY_MS + ANSWER_EXTRA_MS,
      });
      return { sendings };
    } catch (error) {
      return { sendings, error };
    }
  }

  #rest(): void {
    for (const resolve of this.#atRest.splice(0)) resolve();
  }
}
