/**
 * Connections to the brokers, and single calls over them.
 *
 * Of `@platformatic/kafka` only what is below its `Consumer` and `Producer` is used: the wire format, connections, and the
 * choice of a call's version. docs/adr/0016 says why.
 *
 * Rule 1: nothing is tried again here. Whoever calls knows what a second try would mean, and how long to wait.
 * Rule 2: a call that is not answered in time costs its connection: the client cannot read on after a late answer.
 */

import { isIP } from "node:net";
import { setTimeout as timer } from "node:timers";
import {
  type API,
  Base,
  type ClusterMetadata,
  type ClusterTopicMetadata,
  type Connection,
  kGetApi,
  kGetBootstrapConnection,
  kGetConnection,
} from "@platformatic/kafka";
import type { KafkaSettings } from "./settings.js";

const REQUEST_MS_MAX = 3_600_000;
const METADATA_MS_MAX = 30_000;

/** A topic of which the brokers know nothing. */
export class NoTopicError extends Error {}

/** A broker that does not answer, or is not known. */
class NobodyError extends Error {}

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** The parts of the client that are meant for those who build on it, as promises. */
class Wire extends Base {
  api<A extends unknown[], R>(name: string): Promise<API<A, R>> {
    return new Promise((resolve, reject) => {
      this[kGetApi]<A, R>(name, (error, api) => (error || !api ? reject(error) : resolve(api)));
    });
  }

  async connection(node: number | undefined): Promise<Connection> {
    const broker = node === undefined ? undefined : this.currentMetadata?.brokers.get(node);
    return new Promise((resolve, reject) => {
      const end = (error: Error | null, connection?: Connection): void =>
        error || !connection ? reject(error) : resolve(connection);
      if (node === undefined) this[kGetBootstrapConnection](end);
      else if (broker === undefined) reject(new NobodyError(`broker ${node} is not known`));
      else this[kGetConnection](broker, end);
    });
  }
}

/** One connection to each broker that is called. `onTrouble` hears why the brokers cannot be reached. */
export class Cluster {
  readonly #wire: Wire;
  readonly #timeoutMs: number;
  readonly #onTrouble: (reason: string) => void;
  #isClosed = false;

  constructor(settings: KafkaSettings, clientId: string, onTrouble: (reason: string) => void = () => {}) {
    this.#timeoutMs = settings.numbers["socket.timeout.ms"];
    this.#onTrouble = onTrouble;
    this.#wire = new Wire({
      clientId,
      bootstrapBrokers: [...settings.servers],
      retries: 0,
      connectTimeout: settings.numbers["socket.connection.setup.timeout.ms"],
      // Ours is the shorter one, see rule 2.
      requestTimeout: REQUEST_MS_MAX,
      metadataMaxAge: METADATA_MS_MAX,
      // A name is told to the broker, which may have a certificate for each; an address must not be.
      ...(settings.tls === undefined ? {} : { tls: settings.tls, tlsServerName: !settings.servers.some(isAddress) }),
      ...(settings.sasl === undefined ? {} : { sasl: settings.sasl }),
    });
    // The pool hears the first error of a connection only; a second one, with nobody to hear it, would end the process.
    this.#wire.connections.on("connecting", ({ connection }) => connection?.on("error", () => {}));
  }

  /** Make a call to a broker, or to any when `node` is undefined. */
  async call<A extends unknown[], R>(
    node: number | undefined,
    name: string,
    args: A,
    options: CallOptions = {},
  ): Promise<R> {
    let connection: Connection | undefined;
    return this.#inTime(
      async () => {
        // Before the first metadata no broker has a number.
        if (node !== undefined && this.#wire.currentMetadata === undefined) await this.#wire.metadata({ topics: [] });
        connection = await this.#wire.connection(node);
        const api = await this.#wire.api<A, R>(name);
        return api.async(connection, ...args);
      },
      options,
      () => connection?.close(() => {}),
    );
  }

  /** What is known of topics; asked anew when `isFresh`. Throws `NoTopicError`. */
  async metadata(
    topics: readonly string[],
    options: CallOptions & { isFresh?: boolean } = {},
  ): Promise<ClusterMetadata> {
    const { isFresh = false } = options;
    try {
      return await this.#inTime(
        () => this.#wire.metadata({ topics: [...topics], forceUpdate: isFresh }),
        options,
        () => this.#closeConnections(),
      );
    } catch (error) {
      if (error instanceof Error && error.message.startsWith("Unknown topic")) throw new NoTopicError(error.message);
      throw error;
    }
  }

  /** What is known of one topic. Throws `NoTopicError`. */
  async topic(name: string, options: CallOptions & { isFresh?: boolean } = {}): Promise<ClusterTopicMetadata> {
    const found = (await this.metadata([name], options)).topics.get(name);
    if (found === undefined) throw new NoTopicError(`Unknown topic ${name}.`);
    return found;
  }

  /** Forget what is known: it was wrong. */
  forget(): void {
    this.#wire.clearMetadata();
  }

  /** Close the connections. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#wire.close().catch(() => undefined);
  }

  #closeConnections(): void {
    for (const [, connection] of this.#wire.connections) connection.close(() => {});
  }

  async #inTime<R>(make: () => Promise<R>, { timeoutMs, signal }: CallOptions, abandon: () => void): Promise<R> {
    const limit = timeoutMs ?? this.#timeoutMs;
    return new Promise<R>((resolve, reject) => {
      const giveUp = (error: unknown): void => {
        end();
        abandon();
        reject(error);
      };
      const late = timer(() => {
        this.#tell("no answer in time");
        giveUp(new NobodyError(`no answer within ${limit} ms`));
      }, limit);
      const abort = (): void => giveUp(signal?.reason);
      const end = (): void => {
        clearTimeout(late);
        signal?.removeEventListener("abort", abort);
      };
      if (signal?.aborted) {
        abort();
        return;
      }
      signal?.addEventListener("abort", abort);
      make().then(
        (value) => {
          end();
          resolve(value);
        },
        (error: unknown) => {
          end();
          if (isTrouble(error)) this.#tell(reasonOf(error));
          reject(error);
        },
      );
    });
  }

  #tell(reason: string): void {
    if (!this.#isClosed) this.#onTrouble(reason);
  }
}

function isAddress(server: string): boolean {
  return isIP(server.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")) !== 0;
}

/** The ids of the broker's errors in an error, such as REBALANCE_IN_PROGRESS. */
export function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const { apiId, errors, cause } = error as Error & { apiId?: unknown; errors?: unknown };
  const own = typeof apiId === "string" ? [apiId] : [];
  return [...own, ...(Array.isArray(errors) ? errors.flatMap(codesOf) : []), ...codesOf(cause)];
}

/** Whether a broker said one of these. */
export function says(error: unknown, ...codes: readonly string[]): boolean {
  return codesOf(error).some((code) => codes.includes(code));
}

/** Why, in the words of the innermost error. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errors, cause } = error as Error & { errors?: unknown };
  const inner = Array.isArray(errors) && errors.length > 0 ? (errors.at(-1) as unknown) : cause;
  return inner instanceof Error ? reasonOf(inner) : error.message || error.name;
}

/** Whether no broker could be asked: it passes, and is told of once for all calls. */
export function isTrouble(error: unknown): boolean {
  if (!(error instanceof Error) || codesOf(error).length > 0) return false;
  if (error instanceof NobodyError) return true;
  const { code } = error as { code?: string };
  return code === "PLT_KFK_NETWORK" || code === "PLT_KFK_MULTIPLE" || code === "PLT_KFK_AUTHENTICATION";
}
