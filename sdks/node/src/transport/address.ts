/** Which orchestrator, or which brokers, an address means. */

import { InvalidUrlError } from "../errors.js";
import type { Logger } from "../logging.js";
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
 * An argument that is that last one gives way to the variables, and the log says so: the documentation's first example
 * has it, and is to run wherever they say. Who means just that broker writes `kafka://kafka:9092`.
 */
export function resolveUrl(url: string | undefined, logger: Logger): string {
  const given = url?.trim() ?? "";
  const variable = [URL_VARIABLE, KAFKA_VARIABLE].find((name) => process.env[name]?.trim());
  if (variable === undefined || (given !== "" && given !== DEFAULT_URL)) return given || DEFAULT_URL;
  const address = process.env[variable]?.trim() ?? "";
  if (given !== "" && given !== address) {
    logger.info(`${given} in the program is the documentation's example: the address is that of ${variable}`);
  }
  return address;
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
