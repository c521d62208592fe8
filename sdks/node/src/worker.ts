/** The worker that people write: register handlers, start. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { type Duration, readDuration } from "./duration.js";
import { WorkflowError } from "./errors.js";
import type { Context, Handler } from "./handlers.js";
import type { KafkaChoices } from "./kafka/settings.js";
import type { Life, LifeOptions } from "./life.js";
import { type Logger, standardLogger } from "./logging.js";
import { Session } from "./session.js";
import { kafkaServers, openTransport, resolveUrl } from "./transport/address.js";
import { SDK, VERSION } from "./version.js";

export const CONCURRENCY_DEFAULT = 10;
export const DRAIN_TIMEOUT_S_DEFAULT = 30;
const LEASE_MS_MIN = 1_000;
const LEASE_MS_MAX = 3_600_000;
const WORKER_ID = /^[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}$/;

export interface WorkerOptions {
  /** How many jobs it runs at once; 10 by default. */
  readonly concurrency?: number;
  /** A name that is this process's own; made up when left out. */
  readonly workerId?: string;
  /**
   * How long a job stays this worker's without a sign of life, from 1 s to 1 h; the orchestrator's default (30 s) when
   * left out. The worker beats by itself, so a long job needs no long lease.
   */
  readonly lease?: Duration;
  /**
   * How long jobs in hand may go on when the worker is asked to leave, 30 s by default; what has not finished by then
   * is given back to the orchestrator, and no attempt is counted.
   */
  readonly drainTimeout?: Duration;
  /** Where it writes, instead of stderr. `console` will do. */
  readonly logger?: Logger;
  /**
   * Over Kafka: true waits for the commit of a job's offset before each execution, about 5 ms; false (the default) only
   * after partitions were assigned.
   */
  readonly strictOffsets?: boolean;
  /**
   * Over Kafka: properties by the names of librdkafka, such as `{ "session.timeout.ms": 30_000 }`; they win over those of
   * the environment. Those that the worker's promises rest on are refused with a `SettingError`.
   */
  readonly kafka?: Readonly<Record<string, string | number | boolean>>;
  /**
   * Over Kafka: actions whose jobs come on a topic of their own, and its name, as the orchestrator's `kafka_routes` says;
   * those of the environment variable WORKFLOW_ROUTES (`action=topic`, with commas) hold for the others.
   */
  readonly routes?: Readonly<Record<string, string>>;
}

/** Does the jobs of the actions that it has handlers for. */
export class Worker {
  readonly workerId: string;
  readonly concurrency: number;
  readonly #leaseMs: number | undefined;
  readonly #drainTimeoutMs: number;
  readonly #logger: Logger;
  readonly #kafka: KafkaChoices;
  readonly #handlers = new Map<string, Handler>();
  #life: Life | undefined;
  #isRunning = false;
  #isStoppedEarly = false;

  /** Throws a `RangeError` for an option that cannot be used. */
  constructor(options: WorkerOptions = {}) {
    const { concurrency = CONCURRENCY_DEFAULT, workerId, lease, drainTimeout = DRAIN_TIMEOUT_S_DEFAULT } = options;
    if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
      throw new RangeError(`concurrency is a whole number from 1 up, not ${String(concurrency)}`);
    }
    if (workerId !== undefined && !WORKER_ID.test(workerId)) {
      const shown = JSON.stringify(workerId);
      throw new RangeError(
        `workerId is 1 to 128 of A-Z a-z 0-9 . _ : @ -, with a letter, digit or _ first, not ${shown}`,
      );
    }
    this.workerId = workerId ?? makeWorkerId();
    this.concurrency = concurrency;
    this.#leaseMs = lease === undefined ? undefined : readDuration(lease, "lease");
    if (this.#leaseMs !== undefined && (this.#leaseMs < LEASE_MS_MIN || this.#leaseMs > LEASE_MS_MAX)) {
      throw new RangeError(`lease is a duration from 1 s to 3600 s, not ${lease}`);
    }
    this.#drainTimeoutMs = readDuration(drainTimeout, "drainTimeout");
    this.#logger = options.logger ?? standardLogger;
    const { strictOffsets: isStrict = false, kafka: properties = {}, routes = {} } = options;
    this.#kafka = { isStrict, properties, routes };
  }

  /** The registered handlers by action. */
  get handlers(): ReadonlyMap<string, Handler> {
    return this.#handlers;
  }

  /**
   * Say which function does an action; returns the worker.
   *
   * The function takes `(payload, context)` and returns the step's result, any JSON value, or a promise of one. What it
   * throws is a failed attempt. Throws a `WorkflowError` when the action has a handler already.
   */
  // biome-ignore lint/suspicious/noExplicitAny: a handler says by its own parameter what it takes
  register<P = any>(action: string, handler: (payload: P, context: Context) => unknown): this {
    if (typeof action !== "string" || action === "") {
      throw new TypeError(`an action is a non-empty string, not ${String(action)}`);
    }
    if (typeof handler !== "function") throw new TypeError(`the handler of ${action} is not a function`);
    if (this.#isRunning) throw new WorkflowError(`register ${action} before the worker is started`);
    if (this.#handlers.has(action)) throw new WorkflowError(`the action ${action} has a handler already`);
    this.#handlers.set(action, handler as Handler);
    return this;
  }

  /**
   * Connect and do jobs until told to stop; resolves then.
   *
   * The address is `url`, else the environment variable WORKFLOW_URL, else KAFKA_BOOTSTRAP_SERVERS, else `kafka:9092`.
   * `http://host:port` or `https://host:port` is the orchestrator itself; `host:port`, `host1:port,host2:port` or
   * `kafka://host:port` are Kafka brokers. `kafka:9092` as an argument gives way to the variables, `kafka://kafka:9092`
   * does not.
   *
   * `group`: a name for this fleet of workers, for people. Over Kafka its heartbeats tell it, and nothing else comes of
   * it: the workers of an action are one consumer group, `workflow-worker.<action>`, whatever they are called here, so
   * that a job is not done twice. Over HTTP the orchestrator gives each job to one worker anyway.
   *
   * SIGTERM or SIGINT (Ctrl-C), `stop()`, or a word from the orchestrator make the worker finish what it has in hand
   * and leave; a second signal makes it give everything back and leave at once. Handlers that still run then would keep
   * the process alive: a signal ends it. While the orchestrator cannot be reached the worker keeps trying.
   *
   * Rejects with `InvalidUrlError` for an address that it cannot read, `SettingError` for a setting that cannot be used,
   * and `RegistrationError` when the orchestrator refuses it.
   */
  async start(url?: string, group?: string): Promise<void> {
    let seen: NodeJS.Signals | undefined;
    const leave = (signal: NodeJS.Signals): void => {
      if (seen === undefined) this.stop();
      else {
        this.#life?.leaveAtOnce();
        restore();
      }
      seen = signal;
    };
    const restore = (): void => {
      process.off("SIGTERM", leave);
      process.off("SIGINT", leave);
    };
    process.on("SIGTERM", leave);
    process.on("SIGINT", leave);
    let stillRunning = 0;
    try {
      stillRunning = await this.run(url, group);
    } finally {
      restore();
    }
    if (seen !== undefined && stillRunning > 0) {
      this.#logger.warn(`${stillRunning} handlers do not end: the signal ends the process`);
      process.kill(process.pid, seen);
    }
  }

  /**
   * Do the same as `start`, and leave signals to the program.
   *
   * Resolves to the number of handlers that still run although their jobs were given back: they did not look at their
   * `context.signal`.
   */
  async run(url?: string, group?: string): Promise<number> {
    if (this.#isRunning) throw new WorkflowError("this worker is running already");
    if (this.#handlers.size === 0) {
      throw new WorkflowError('this worker has no handlers: call worker.register("my-action", myFunction) first');
    }
    this.#isRunning = true;
    this.#isStoppedEarly = false;
    try {
      const life = await this.#open(resolveUrl(url, this.#logger), group);
      this.#life = life;
      if (this.#isStoppedEarly) life.leave();
      await life.run();
      return life.stillRunning;
    } finally {
      this.#life = undefined;
      this.#isRunning = false;
    }
  }

  /** Finish what is in hand and leave. Safe to call twice. */
  stop(): void {
    if (this.#life !== undefined) this.#life.leave();
    else this.#isStoppedEarly = true;
  }

  async #open(address: string, group: string | undefined): Promise<Life> {
    const options: LifeOptions = {
      hello: {
        workerId: this.workerId,
        actions: [...this.#handlers.keys()],
        sdk: SDK,
        version: VERSION,
        host: hostname(),
        pid: process.pid,
        concurrency: this.concurrency,
        leaseMs: this.#leaseMs,
      },
      handlers: this.#handlers,
      drainTimeoutMs: this.#drainTimeoutMs,
      logger: this.#logger,
    };
    const servers = kafkaServers(address);
    if (servers === undefined) return new Session(openTransport(address), options);
    // The library for Kafka is loaded by those who speak to it.
    const [{ readSettings }, { KafkaSession }] = await Promise.all([
      import("./kafka/settings.js"),
      import("./kafka/session.js"),
    ]);
    return new KafkaSession(readSettings(servers, this.#kafka, process.env, this.#logger), group, options);
  }
}

function makeWorkerId(): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9._-]/g, "-")
    .slice(0, 64);
  return `w-${host}-${process.pid}-${randomBytes(3).toString("hex")}`;
}
