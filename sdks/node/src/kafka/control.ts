/** The orchestrator's words to all workers, and the first look at the brokers. */

import type { AttemptName } from "../jobs.js";
import type { Logger } from "../logging.js";
import { now, sleep } from "../waiting.js";
import { type Cluster, NoTopicError, reasonOf } from "./cluster.js";
import { fetchFrom, LATEST, listOffsets } from "./fetching.js";
import { readControl } from "./records.js";
import type { KafkaSettings } from "./settings.js";

const LOOK_MS = 5_000;
/** What was said before this worker came still holds for jobs that wait: so much of it is read before the first job. */
const LOOKBACK_MS = 3_600_000;
const LOOKBACK_WORDS_MAX = 10_000;
const CATCH_UP_MS = 5_000;
const WAIT_MS = 500;
const BYTES_MAX = 1024 * 1024;
const LOOK_AGAIN_MS = 5_000;
const RETRY_MS = 500;
const OFFSET_OUT_OF_RANGE = 1;

/** Reads the topic of control, the last hour of it first. */
export class Control {
  readonly #cluster: Cluster;
  readonly #topic: string;
  readonly #jobTopics: readonly string[];
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  readonly #onCancel: (words: readonly AttemptName[]) => void;
  /** Where to go on, by partition; undefined while the topic is not there. */
  #positions: Map<number, number> | undefined;

  constructor(
    cluster: Cluster,
    settings: KafkaSettings,
    jobTopics: readonly string[],
    logger: Logger,
    signal: AbortSignal,
    onCancel: (words: readonly AttemptName[]) => void,
  ) {
    this.#cluster = cluster;
    this.#topic = settings.topics.control;
    this.#jobTopics = jobTopics;
    this.#logger = logger;
    this.#signal = signal;
    this.#onCancel = onCancel;
  }

  /**
   * Ask whether the brokers are there and have the topics of jobs; return what is missing, if anything.
   *
   * What was said on the topic of control in the last hour has been heard then, and what follows will be.
   */
  async look(): Promise<string | undefined> {
    const options = { timeoutMs: LOOK_MS, signal: this.#signal, isFresh: true };
    try {
      for (const topic of this.#jobTopics) await this.#cluster.topic(topic, options);
    } catch (error) {
      return error instanceof NoTopicError ? error.message : reasonOf(error);
    }
    try {
      await this.#begin();
    } catch (error) {
      if (!(error instanceof NoTopicError)) return reasonOf(error);
      this.#logger.info(`topic ${this.#topic}: ${error.message} Runs that are cancelled will not be heard of`);
    }
    return undefined;
  }

  /** Read until the signal. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        if (this.#positions === undefined) {
          await sleep(LOOK_AGAIN_MS, this.#signal);
          if (!this.#signal.aborted) await this.#begin();
        } else {
          await this.#read(this.#positions);
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#logger.debug(`topic ${this.#topic}: ${reasonOf(error)}`);
        this.#cluster.forget();
        await sleep(RETRY_MS, this.#signal);
      }
    }
  }

  /** Begin an hour ago, if the topic is there, and catch up. The place is a fixed one: an outage moves it not. */
  async #begin(): Promise<void> {
    const options = { timeoutMs: LOOK_MS, signal: this.#signal };
    const { partitionsCount } = await this.#cluster.topic(this.#topic, { ...options, isFresh: true });
    const partitions = Array.from({ length: partitionsCount }, (_, partition) => partition);
    const ends = await listOffsets(this.#cluster, this.#topic, partitions, LATEST, options);
    const since = await listOffsets(this.#cluster, this.#topic, partitions, Date.now() - LOOKBACK_MS, options);
    const positions = new Map<number, number>();
    for (const [partition, end] of ends) {
      const start = since.get(partition) ?? -1;
      positions.set(partition, start < 0 ? end : Math.max(start, end - LOOKBACK_WORDS_MAX));
    }
    const until = now() + CATCH_UP_MS;
    const isBehind = (): boolean => [...ends].some(([partition, end]) => (positions.get(partition) ?? end) < end);
    while (isBehind() && now() < until && !this.#signal.aborted) await this.#read(positions);
    this.#positions = positions;
  }

  async #read(positions: Map<number, number>): Promise<void> {
    const { id, partitions } = await this.#cluster.topic(this.#topic, { signal: this.#signal });
    const leaders = new Set([...positions.keys()].map((partition) => partitions[partition]?.leader ?? -1));
    for (const leader of leaders) {
      const wanted = [...positions]
        .filter(([partition]) => (partitions[partition]?.leader ?? -1) === leader)
        .map(([partition, offset]) => ({ topic: this.#topic, partition, offset }));
      const fetched = await fetchFrom(this.#cluster, leader, wanted, new Map([[this.#topic, id]]), {
        waitMs: WAIT_MS,
        bytesMax: BYTES_MAX,
        partitionBytesMax: BYTES_MAX,
        signal: this.#signal,
      });
      for (const { partition, code, entries, end } of fetched) {
        if (code === OFFSET_OUT_OF_RANGE)
          this.#positions = undefined; // the topic was made anew
        else if (code !== 0) throw new Error(`the broker says ${code}`);
        const words = entries.flatMap(({ record }) => readControl(record.value) ?? []);
        if (words.length > 0) this.#onCancel(words);
        positions.set(partition, end);
      }
    }
  }
}
