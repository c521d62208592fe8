/**
 * Sending records: results that must arrive, and heartbeats.
 *
 * Rule 1: a record is kept until the brokers have acknowledged it, and sent again when they have not. It may arrive twice then,
 *         which does no harm: the first result of an attempt counts, and the last heartbeat of a worker.
 * Rule 2: results that are sent together go to one partition, those after them to the next: each partition takes a request of its
 *         own, and that costs the broker as much as a hundred records do. Nothing depends on a result's partition.
 * Rule 3: a broker that finds a batch too large says so of all of it. Its records are sent again one by one; the one that is still
 *         too large is given up.
 */

import { murmur2 } from "@platformatic/kafka";
import { Backoff } from "../http.js";
import type { Logger } from "../logging.js";
import { now } from "../waiting.js";
import { type Cluster, reasonOf, says } from "./cluster.js";
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

/** Records for one partition, that are sent together. */
interface Batch {
  readonly sendings: readonly Sending[];
  /** Undefined where the key decides. */
  readonly turn: number | undefined;
}

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
    let batch: Sending[] = [];
    let bytes = 0;
    for (const sending of sendings) {
      if (batch.length > 0 && bytes + sending.bytes > BATCH_BYTES_MAX) {
        this.#waiting.push({ sendings: batch, turn: this.#turn });
        batch = [];
        bytes = 0;
      }
      batch.push(sending);
      bytes += sending.bytes + RECORD_EXTRA_BYTES;
    }
    if (batch.length > 0) this.#waiting.push({ sendings: batch, turn: this.#turn });
    this.#pump();
  }

  /** Send one record to the partition of its key. */
  send(sending: Sending): void {
    this.#waiting.push({ sendings: [sending], turn: undefined });
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
    const { sendings } = batch;
    let error: unknown;
    try {
      await this.#produce(batch);
      this.#backoff.reset();
    } catch (failure) {
      error = failure;
    }
    this.#onWay.delete(batch);
    if (error === undefined) {
      for (const sending of sendings) sending.onEnd();
    } else if (says(error, "MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD")) {
      if (sendings.length === 1) sendings[0]?.onEnd(error);
      else this.#waiting.unshift(...sendings.map((sending) => ({ sendings: [sending], turn: batch.turn })));
    } else {
      this.#logger.debug(`sending to ${sendings[0]?.topic} again: ${reasonOf(error)}`);
      this.#cluster.forget();
      this.#notBefore = now() + Math.min(RETRY_MS_MAX, 50 + this.#backoff.next());
      this.#waiting.unshift(batch);
    }
    this.#pump();
    if (this.isAtRest) this.#rest();
  }

  async #produce({ sendings, turn }: Batch): Promise<void> {
    const [first] = sendings;
    if (first === undefined) return;
    const { topic, key } = first;
    const { partitions, partitionsCount } = await this.#cluster.topic(topic);
    const partition = (turn ?? murmur2(key) & 0x7fffffff) % partitionsCount;
    const bytes = sendings.reduce((sum, sending) => sum + sending.bytes, 0);
    const messages = sendings.map((sending) => ({
      topic,
      partition,
      key: sending.key,
      value: Buffer.from(sending.value),
      headers: new Map(sending.headers.map(([name, value]) => [Buffer.from(name), Buffer.from(value)])),
    }));
    const options = { compression: bytes < COMPRESS_FROM_BYTES ? "none" : this.#compression };
    const args = [ACKS_ALL, DELIVERY_MS, messages, options];
    await this.#cluster.call<unknown[], ProduceAnswer>(partitions[partition]?.leader ?? -1, "Produce", args, {
      timeoutMs: DELIVERY_MS + ANSWER_EXTRA_MS,
    });
  }

  #rest(): void {
    for (const resolve of this.#atRest.splice(0)) resolve();
  }
}
