/**
 * Members of this worker's groups whose process has died on this machine.
 *
 * A group that gets a new member waits for all that it knows, for a dead one as long as its session lasts, and nobody reads jobs
 * meanwhile. A worker that is started in place of one that was killed would stop all others of its groups like that. So it joins
 * once the session is over: until then the others go on.
 */

import type { Logger } from "../logging.js";
import { type Cluster, reasonOf } from "./cluster.js";
import { groupOf, type KafkaSettings } from "./settings.js";
import type { DescribeGroupsAnswer, FindCoordinatorAnswer } from "./wire.js";

const LOOK_MS = 1_000;
const SPARE_MS = 2_000;
const GROUP_KEY = 0;

/** A name that a worker has made itself, in any language: host, process, and something of its own. */
const NAME = /^(w-.+)-([0-9]{1,10})-[0-9a-f]{6}$/;
/** Workers of this process. */
const here = new Set<string>();

/** Note that a worker of this process is alive. */
export function noteHere(workerId: string): void {
  here.add(workerId);
}

/** Note that it is not any more. */
export function noteGone(workerId: string): void {
  here.delete(workerId);
}

/** Whether a member of a group is certain to be dead, or is `workerId` in an earlier life. */
export function hasDied(clientId: string, workerId: string): boolean {
  if (clientId === workerId) return true;
  if (here.has(clientId)) return false;
  const [, theirHost, theirPid] = NAME.exec(clientId) ?? [];
  const [, ourHost, ourPid] = NAME.exec(workerId) ?? [];
  if (theirHost === undefined || theirHost !== ourHost) return false;
  // Of the same number on the same machine: a container has the same one in each of its lives.
  return theirPid === ourPid || !isAlive(Number(theirPid));
}

/** Looks for them. */
export class Predecessors {
  /** How long they can be in the way. */
  readonly patienceMs: number;
  readonly #cluster: Cluster;
  readonly #workerId: string;
  readonly #logger: Logger;
  #groups: readonly string[];

  constructor(cluster: Cluster, settings: KafkaSettings, workerId: string, actions: readonly string[], logger: Logger) {
    this.patienceMs = settings.numbers["session.timeout.ms"] + SPARE_MS;
    this.#cluster = cluster;
    this.#workerId = workerId;
    this.#logger = logger;
    this.#groups = actions.map((action) => groupOf(settings, action));
  }

  /** Their names; none also where the brokers do not say. */
  async find(signal: AbortSignal): Promise<Set<string>> {
    const found = new Set<string>();
    const behind: string[] = [];
    for (const group of this.#groups) {
      try {
        const dead = (await this.#members(group, signal)).filter((name) => hasDied(name, this.#workerId));
        if (dead.length > 0) behind.push(group);
        for (const name of dead) found.add(name);
      } catch (error) {
        this.#logger.debug(`who is in the group ${group} is not known: ${reasonOf(error)}`);
        return found;
      }
    }
    this.#groups = behind;
    return found;
  }

  async #members(group: string, signal: AbortSignal): Promise<string[]> {
    const options = { timeoutMs: LOOK_MS, signal };
    const asked = [GROUP_KEY, [group]];
    const { coordinators } = await this.#cluster.call<unknown[], FindCoordinatorAnswer>(
      undefined,
      "FindCoordinator",
      asked,
      options,
    );
    const node = coordinators.find(({ key }) => key === group)?.nodeId ?? -1;
    const args = [[group], false];
    const answer = await this.#cluster.call<unknown[], DescribeGroupsAnswer>(node, "DescribeGroups", args, options);
    return answer.groups.flatMap(({ members }) => members.map(({ clientId }) => clientId));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
