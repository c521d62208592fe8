/** The link to the orchestrator: registration, outages, and what the log says of them. */

import { RegistrationError } from "./errors.js";
import { Backoff } from "./http.js";
import type { Logger } from "./logging.js";
import {
  type Hello,
  Refused,
  TERMS_DEFAULT,
  type Terms,
  type Transport,
  TransportError,
} from "./transport/transport.js";
import { now, sleep } from "./waiting.js";

/**
 * One per worker and transport. All calls share one outage, so that it is told once.
 *
 * The first failure is tried again at once and is not told: a kept connection may have been closed by the other side.
 */
export class Link {
  readonly transport: Transport;
  terms: Terms = TERMS_DEFAULT;
  onRecovery: () => void = () => {};
  readonly #hello: Hello;
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  readonly #backoff = new Backoff();
  #failures = 0;
  #downSince = 0;
  #registrations = 0;
  #registering: Promise<void> | undefined;

  /** `signal` ends all that waits. */
  constructor(transport: Transport, hello: Hello, logger: Logger, signal: AbortSignal) {
    this.transport = transport;
    this.#hello = hello;
    this.#logger = logger;
    this.#signal = signal;
  }

  /** True from the first failed call to the next that comes through. */
  get isInDoubt(): boolean {
    return this.#failures > 0;
  }

  /** How often the worker has registered: compare before and after to see whether it has happened since. */
  get registrations(): number {
    return this.#registrations;
  }

  /** Take note of a call that did not come through; return the pause in milliseconds before the next try. */
  failed(error: TransportError): number {
    this.#failures += 1;
    if (this.#failures === 1) {
      this.#downSince = now();
      return 0;
    }
    if (this.#failures === 2) {
      const state = this.#registrations > 0 ? "lost the orchestrator at" : "cannot reach the orchestrator at";
      this.#logger.warn(`${state} ${this.transport.address} (${error.message}); retrying`);
    }
    return this.#backoff.next();
  }

  /** Take note of a call that came through. */
  reached(): void {
    if (this.#failures === 0) return;
    if (this.#failures > 1 && this.#registrations > 0) {
      const seconds = ((now() - this.#downSince) / 1_000).toFixed(1);
      this.#logger.info(`connected again to ${this.transport.address} after ${seconds} s`);
    }
    this.#failures = 0;
    this.#backoff.reset();
    this.onRecovery();
  }

  /** Register, trying until it is done or the worker ends. Throws `RegistrationError`. */
  async register(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        this.terms = await this.transport.register(this.#hello, this.#signal);
        this.reached();
        this.#registrations += 1;
        return;
      } catch (error) {
        if (error instanceof Refused) {
          throw new RegistrationError(this.transport.address, error.status, error.title, error.detail);
        }
        if (!(error instanceof TransportError)) throw error;
        await sleep(this.failed(error), this.#signal);
      }
    }
    this.#signal.throwIfAborted();
  }

  /** Register anew, unless another call has done so since there were `registrations` of them. */
  async registerAgain(registrations: number): Promise<void> {
    if (this.#registrations !== registrations) return;
    this.#registering ??= this.#register().finally(() => {
      this.#registering = undefined;
    });
    await this.#registering;
  }

  async #register(): Promise<void> {
    this.#logger.info(`the orchestrator at ${this.transport.address} does not know this worker: registering again`);
    await this.register();
  }
}
