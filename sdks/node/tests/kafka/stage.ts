/** The orchestrator's part, played on a real broker: writes jobs, and listens to results and heartbeats. */

import { randomUUID } from "node:crypto";
import { Admin, Producer } from "@platformatic/kafka";
import { Cluster } from "../../src/kafka/cluster.js";
import { fetchFrom } from "../../src/kafka/fetching.js";
import { Membership } from "../../src/kafka/membership.js";
import { type KafkaSettings, readSettings } from "../../src/kafka/settings.js";
import { until } from "../conditions.js";
import { Lines } from "../running.js";

const PARTITIONS = { jobs: 4, own: 2, results: 4, heartbeats: 1, control: 1 } as const;
type Name = keyof typeof PARTITIONS;
export type Raw = Record<string, unknown>;

export interface Result {
  readonly partition: number;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Raw;
}

export interface JobOptions extends Raw {
  readonly partition?: number;
  readonly topic?: Name;
  readonly attempt?: number;
  /** What the header says of the partition that the result is to go to. */
  readonly home?: string;
}

interface RecordOptions {
  readonly key?: string;
  readonly headers?: Record<string, string>;
  readonly partition?: number | undefined;
}

type Message = Parameters<Producer["send"]>[0]["messages"][number];

/** Topics of its own; the variables that name them are set for this process. */
export class Stage {
  readonly servers: string;
  readonly suffix = randomUUID().slice(0, 8);
  readonly topics: Readonly<Record<Name, string>>;
  readonly environment: Readonly<Record<string, string>>;
  readonly results: Result[] = [];
  readonly heartbeats: Raw[] = [];
  readonly #settings: KafkaSettings;
  readonly #clusters: Cluster[] = [];
  readonly #producer: Producer;
  readonly #over = new AbortController();
  #listening: Promise<unknown> = Promise.resolve();

  constructor(servers: string) {
    this.servers = servers;
    const names = Object.keys(PARTITIONS) as Name[];
    this.topics = Object.fromEntries(names.map((name) => [name, `test-${name}-${this.suffix}`])) as Record<
      Name,
      string
    >;
    this.environment = Object.fromEntries(
      names.filter((name) => name !== "own").map((name) => [`WORKFLOW_${name.toUpperCase()}_TOPIC`, this.topics[name]]),
    );
    this.#settings = readSettings([servers], { isStrict: false, properties: {}, routes: {} }, {}, new Lines());
    this.#producer = new Producer({ clientId: "stage", bootstrapBrokers: [servers], retries: 5 });
  }

  /** Make the topics and listen. `resultBytesMax`: what the topic of results takes. */
  async open({ resultBytesMax }: { resultBytesMax?: number } = {}): Promise<void> {
    const admin = new Admin({ clientId: "stage", bootstrapBrokers: [this.servers] });
    for (const [name, partitions] of Object.entries(PARTITIONS)) {
      const isLimited = name === "results" && resultBytesMax !== undefined;
      const configs = isLimited ? [{ name: "max.message.bytes", value: String(resultBytesMax) }] : [];
      await admin.createTopics({ topics: [this.topics[name as Name]], partitions, replicas: 1, configs });
    }
    await admin.close();
    Object.assign(process.env, this.environment);
    await until(
      () =>
        this.#cluster()
          .metadata(Object.values(this.topics))
          .then(Boolean, () => false),
      "the topics",
    );
    this.#listening = Promise.all([this.#listen("results"), this.#listen("heartbeats")]);
  }

  async close(): Promise<void> {
    this.#over.abort();
    await this.#listening;
    await this.#producer.close();
    for (const cluster of this.#clusters) await cluster.close();
  }

  action(name: string): string {
    return `${name}-${this.suffix}`;
  }

  /** Write a job as the orchestrator does; return its id. */
  async give(action: string, payload: unknown = null, options: JobOptions = {}): Promise<string> {
    const { jobId, message } = this.#job(action, payload, options);
    await this.#producer.send({ messages: [message], acks: -1 });
    return jobId;
  }

  /** Write jobs to one partition, in one request: so many, and one behind them. Return the ids of the many. */
  async burst(action: string, count: number, last: unknown, options: JobOptions): Promise<string[]> {
    const many = Array.from({ length: count }, (_, number) => this.#job(action, number, { partition: 0 }));
    const messages = [...many, this.#job(action, last, { ...options, partition: 0 })].map(({ message }) => message);
    await this.#producer.send({ messages, acks: -1 });
    return many.map(({ jobId }) => jobId);
  }

  #job(action: string, payload: unknown, options: JobOptions): { jobId: string; message: Message } {
    const { partition, topic = "jobs", attempt = 1, home, ...fields } = options;
    const workflowRunId = randomUUID();
    const jobId = `${workflowRunId}:0`;
    const value = { workflowRunId, action, payload, jobId, attempt, workflowId: "test", stepIndex: 0, ...fields };
    const headers = {
      "wf-action": action,
      "wf-job-id": jobId,
      "wf-run-id": workflowRunId,
      "wf-attempt": String(attempt),
      "content-type": "application/json",
      ...(fields.alone ? { "wf-alone": "1" } : {}),
      ...(home === undefined ? {} : { "wf-result-partition": home }),
    };
    return { jobId, message: this.#message(topic, JSON.stringify(value), { key: workflowRunId, headers, partition }) };
  }

  /** Write any record, and see it arrive. */
  async write(topic: Name, value: string | null, options: RecordOptions = {}): Promise<void> {
    await this.#producer.send({ messages: [this.#message(topic, value, options)], acks: -1 });
  }

  #message(topic: Name, value: string | null, { key, headers = {}, partition }: RecordOptions): Message {
    return {
      topic: this.topics[topic],
      ...(value === null ? {} : { value: Buffer.from(value) }),
      ...(key === undefined ? {} : { key: Buffer.from(key) }),
      ...(partition === undefined ? {} : { partition }),
      headers: new Map(Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)])),
    };
  }

  async cancel(jobId: string, attempt = 1): Promise<void> {
    const word = { type: "cancel", jobId, attempt, reason: "the run was cancelled" };
    await this.write("control", JSON.stringify(word), { key: jobId });
  }

  /** What the group of an action has committed, by partition. */
  async committed(action: string): Promise<Map<number, number>> {
    const options = {
      group: `workflow-worker.${action}`,
      topic: this.topics.jobs,
      sessionMs: 10_000,
      rebalanceMs: 10_000,
    };
    return new Membership(this.#cluster(), options).committed([0, 1, 2, 3]);
  }

  /** The first result of a job. */
  async resultOf(jobId: string): Promise<Raw> {
    const found = (): Result | undefined => this.results.find(({ value }) => value.jobId === jobId);
    await until(() => found() !== undefined, `the result of ${jobId}`);
    return (found() as Result).value;
  }

  /** What the heartbeats said of a job. */
  named(jobId: string): Raw[] {
    return this.heartbeats.flatMap((beat) => beat.inFlight as Raw[]).filter((entry) => entry.jobId === jobId);
  }

  #cluster(): Cluster {
    const cluster = new Cluster(this.#settings, "stage");
    this.#clusters.push(cluster);
    return cluster;
  }

  async #listen(name: "results" | "heartbeats"): Promise<void> {
    const cluster = this.#cluster();
    const topic = this.topics[name];
    const positions = Array.from({ length: PARTITIONS[name] }, (_, partition) => ({ topic, partition, offset: 0 }));
    const { id, partitions } = await cluster.topic(topic);
    const options = { waitMs: 50, bytesMax: 4_000_000, partitionBytesMax: 4_000_000, signal: this.#over.signal };
    while (!this.#over.signal.aborted) {
      try {
        const leader = partitions[0]?.leader ?? -1;
        for (const { partition, entries, end } of await fetchFrom(
          cluster,
          leader,
          positions,
          new Map([[topic, id]]),
          options,
        )) {
          Object.assign(positions[partition] ?? {}, { offset: end });
          for (const { record } of entries) {
            const value = JSON.parse(String(record.value)) as Raw;
            const headers = Object.fromEntries(record.headers.map(([one, text]) => [String(one), String(text)]));
            if (name === "heartbeats") this.heartbeats.push(value);
            else this.results.push({ partition, key: String(record.key), headers, value });
          }
        }
      } catch {
        cluster.forget(); // the broker is away
      }
    }
  }
}
