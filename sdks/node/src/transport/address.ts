/** Which orchestrator, or which brokers, an address means. */

import { InvalidUrlError } from "../errors.js";
import { HttpTransport } from "./http.js";
import type { Transport } from "./transport.js";

export const URL_VARIABLE = "WORKFLOW_URL";
export const KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS";
export const DEFAULT_URL = "kafka:9092";

const HOST = String.raw`(?:[^/:@,\s\[\]]+|\[[0-9a-fA-F:]+\])`;
const HOST_AND_PORT = new RegExp(`^${HOST}:\\d{1,5}$`);
const HOST_MAYBE_PORT = new RegExp(`^${HOST}(?::\\d{1,5})?$`);

/**
 * The address to use: the argument, else WORKFLOW_URL, else KAFKA_BOOTSTRAP_SERVERS, else kafka:9092.
 *
 * An argument that is that last one says nothing new: the first example of the documentation has it, and is to run wherever
 * the variables say.
 */
export function resolveUrl(url?: string): string {
  const { env } = process;
  const given = url?.trim() === DEFAULT_URL ? undefined : url;
  return (given || env[URL_VARIABLE] || env[KAFKA_VARIABLE] || DEFAULT_URL).trim();
}

/**
 * The brokers that an address names, each `host:port`; undefined when it is not one of Kafka.
 *
 * Such are `host:port`, `host1:port,host2:port`, and the same after `kafka://`, where the port may be left out.
 */
export function kafkaServers(url: string): string[] | undefined {
  const [, scheme, rest] = /^([^:/]+):\/\/(.*)$/s.exec(url) ?? [];
  if (scheme !== undefined && scheme.toLowerCase() !== "kafka") return undefined;
  const known = scheme === undefined ? HOST_AND_PORT : HOST_MAYBE_PORT;
  const names = (rest?.replace(/\/+$/, "") ?? url).split(",").map((name) => name.trim());
  return names.every((name) => known.test(name)) ? names : undefined;
}

/** The transport for an address that is called. Throws `InvalidUrlError` for one that cannot be read. */
export function openTransport(url: string): Transport {
  if (/^https?:\/\//i.test(url)) return new HttpTransport(url);
  throw new InvalidUrlError(
    `${JSON.stringify(url)} is not an address that this version knows. Known are http://host:port and ` +
      "https://host:port, the address of the orchestrator, and host:port, host1:port,host2:port and " +
      "kafka://host:port, those of Kafka",
  );
}
