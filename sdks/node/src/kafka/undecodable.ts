/** Records on the topic of jobs that are no jobs: passed over, counted, and told once. */

import type { Logger } from "../logging.js";
import { type Place, placeKey } from "./fetching.js";

const REMEMBERED_MAX = 10_000;

/** One for a worker. A record may be met again when reading goes back; it counts once. */
export class Undecodable {
  count = 0;
  readonly #logger: Logger;
  readonly #seen = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Note a record and why it is no job. */
  add(place: Place, offset: number, fault: string): void {
    const name = `${placeKey(place)}/${offset}`;
    if (this.#seen.has(name)) return;
    this.#seen.add(name);
    const [oldest] = this.#seen;
    if (this.#seen.size > REMEMBERED_MAX && oldest !== undefined) this.#seen.delete(oldest);
    this.count += 1;
    const { topic, partition } = place;
    this.#logger[this.count === 1 ? "warn" : "debug"](
      `${topic} partition ${partition} offset ${offset} is not a job and is passed over: ${fault} ` +
        "(further ones are counted, not told)",
    );
  }
}
