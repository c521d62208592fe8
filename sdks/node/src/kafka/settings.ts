/**
 * Everything that can be set about Kafka, read once, before the first connection.
 *
 * Rule 1: a name that is set nearer to the program wins: our default, the environment, `new Worker({ kafka })`.
 * Rule 2: what the worker's promises rest on cannot be set.
 * Rule 3: a secret is in the connection's options and nowhere else: no log line and no error holds a value of theirs.
 *
 * Properties have the names of librdkafka, as everywhere in this system, so that workers of all languages may share an
 * environment; those that mean something to this client are in the table of the README.
 */

import { readFileSync } from "node:fs";
import type { ConnectionOptions as TlsOptions } from "node:tls";
import type { SASLOptions } from "@platformatic/kafka";
import { SettingError } from "../errors.js";
import type { Logger } from "../logging.js";

const PROPERTY_PREFIX = "KAFKA_PROP_";
const PREFIX_VARIABLE = "WORKFLOW_KAFKA_PREFIX";
const ROUTES_VARIABLE = "WORKFLOW_ROUTES";
const PASSWORD_FILE = "KAFKA_SASL_PASSWORD_FILE";
const GROUP_PREFIX = "workflow-worker.";
const PORT_DEFAULT = 9092;
export const LEASE_MS_DEFAULT = 30_000;

/** What the worker's promises rest on: offsets ahead of execution, one group for an action, results that are not lost. */
const OWN = new Set([
  "acks",
  "auto.commit.enable",
  "auto.offset.reset",
  "bootstrap.servers",
  "enable.auto.commit",
  "enable.auto.offset.store",
  "enable.idempotence",
  "enable.partition.eof",
  "group.id",
  "group.instance.id",
  "group.protocol",
  "metadata.broker.list",
  "partition.assignment.strategy",
  "partitioner",
  "request.required.acks",
  "transactional.id",
]);

/** The names that other programs have for the same things. */
const VARIABLES: Readonly<Record<string, string>> = {
  KAFKA_SECURITY_PROTOCOL: "security.protocol",
  KAFKA_SASL_MECHANISM: "sasl.mechanism",
  KAFKA_SASL_USERNAME: "sasl.username",
  KAFKA_SASL_PASSWORD: "sasl.password",
  KAFKA_SSL_CA: "ssl.ca.location",
  KAFKA_SSL_CERT: "ssl.certificate.location",
  KAFKA_SSL_KEY: "ssl.key.location",
};

const NUMBERS = {
  "session.timeout.ms": 10_000,
  "heartbeat.interval.ms": 1_000,
  "max.poll.interval.ms": 60_000,
  "fetch.wait.max.ms": 100,
  "fetch.max.bytes": 4 * 1024 * 1024,
  "max.partition.fetch.bytes": 1024 * 1024,
  "socket.timeout.ms": 10_000,
  "socket.connection.setup.timeout.ms": 5_000,
} as const;
export type NumberName = keyof typeof NUMBERS;

const TEXTS = new Set([
  "security.protocol",
  "sasl.mechanism",
  "sasl.mechanisms",
  "sasl.username",
  "sasl.password",
  "ssl.ca.location",
  "ssl.certificate.location",
  "ssl.key.location",
  "ssl.key.password",
  "compression.type",
]);
const PROTOCOLS = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] as const;
const COMPRESSIONS = ["none", "gzip", "snappy", "lz4"] as const;

export interface Topics {
  readonly jobs: string;
  readonly results: string;
  readonly heartbeats: string;
  readonly control: string;
}

/** How one worker uses Kafka. */
export interface KafkaSettings {
  /** Each `host:port`. */
  readonly servers: readonly string[];
  /** Where the brokers are, for log lines. */
  readonly address: string;
  readonly topics: Topics;
  /** Actions whose jobs come on a topic of their own. */
  readonly routes: ReadonlyMap<string, string>;
  /** What the names of groups begin with. */
  readonly prefix: string;
  /** Wait for the commit before each execution, and not only after an assignment. */
  readonly isStrict: boolean;
  readonly numbers: Readonly<Record<NumberName, number>>;
  readonly compression: (typeof COMPRESSIONS)[number];
  readonly tls: TlsOptions | undefined;
  readonly sasl: SASLOptions | undefined;
}

export interface KafkaChoices {
  readonly isStrict: boolean;
  readonly properties: Readonly<Record<string, string | number | boolean>>;
  readonly routes: Readonly<Record<string, string>>;
}

type Properties = Map<string, string>;

/** The topic that the jobs of an action come on. */
export function topicOf(settings: KafkaSettings, action: string): string {
  return settings.routes.get(action) ?? settings.topics.jobs;
}

/** The consumer group of all workers of an action. */
export function groupOf(settings: KafkaSettings, action: string): string {
  return settings.prefix + GROUP_PREFIX + action;
}

/** Put together what the environment and the program say. Throws `SettingError`. */
export function readSettings(
  servers: readonly string[],
  choices: KafkaChoices,
  environment: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): KafkaSettings {
  const properties = readProperties(choices.properties, environment, logger);
  const prefix = environment[PREFIX_VARIABLE] ?? "";
  const topic = (name: keyof Topics): string =>
    environment[`WORKFLOW_${name.toUpperCase()}_TOPIC`] || `${prefix}workflow-${name}`;
  const routes = { ...readRoutes(environment[ROUTES_VARIABLE] ?? ""), ...choices.routes };
  const protocol = oneOf(properties, "security.protocol", PROTOCOLS, "plaintext", (text) => text.toLowerCase());
  const numbers = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, known]) => [name, readNumber(properties, name, known)]),
  ) as Record<NumberName, number>;
  if (numbers["heartbeat.interval.ms"] * 2 > numbers["session.timeout.ms"]) {
    throw new SettingError("heartbeat.interval.ms is at most half of session.timeout.ms");
  }
  const known = servers.map((server) => (/:\d+$/.test(server) ? server : `${server}:${PORT_DEFAULT}`));
  return {
    servers: known,
    address: `kafka://${servers.join(",")}`,
    topics: {
      jobs: topic("jobs"),
      results: topic("results"),
      heartbeats: topic("heartbeats"),
      control: topic("control"),
    },
    routes: new Map(Object.entries(routes).map(([action, name]) => [action, prefix + name])),
    prefix,
    isStrict: choices.isStrict,
    numbers,
    compression: oneOf(properties, "compression.type", COMPRESSIONS, "lz4"),
    tls: protocol.endsWith("ssl") ? readTls(properties) : undefined,
    sasl: protocol.startsWith("sasl") ? readSasl(properties) : undefined,
  };
}

function readProperties(
  chosen: KafkaChoices["properties"],
  environment: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): Properties {
  const properties: Properties = new Map();
  for (const [variable, name] of Object.entries(VARIABLES)) {
    const value = environment[variable];
    if (value) properties.set(name, value);
  }
  const path = environment[PASSWORD_FILE];
  if (path) properties.set("sasl.password", readFile(path, PASSWORD_FILE).replace(/[\r\n]+$/, ""));
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith(PROPERTY_PREFIX) || value === undefined) continue;
    const name = variable.slice(PROPERTY_PREFIX.length).toLowerCase().replaceAll("_", ".");
    refuseOwn(name, variable);
    // Workers of other languages may share the environment; but what was meant to keep others out is not passed over.
    if (isKnown(name)) properties.set(name, value);
    else if (/^(ssl|sasl|security)\./.test(name)) throw new SettingError(`${variable}: ${name} is not known here`);
    else logger.debug(`${variable} means nothing to this client`);
  }
  for (const [name, value] of Object.entries(chosen)) {
    refuseOwn(name, "new Worker({ kafka })");
    if (!isKnown(name)) throw new SettingError(`new Worker({ kafka }): the property ${name} is not known here`);
    properties.set(name, String(value));
  }
  return properties;
}

function isKnown(name: string): boolean {
  return name in NUMBERS || TEXTS.has(name);
}

function refuseOwn(name: string, where: string): void {
  if (!OWN.has(name)) return;
  throw new SettingError(
    `${where}: the Kafka property ${name} is the worker's own and cannot be set: its promises rest on it`,
  );
}

function readNumber(properties: Properties, name: string, known: number): number {
  const text = properties.get(name);
  if (text === undefined) return known;
  if (!/^\d{1,9}$/.test(text) || Number(text) === 0)
    throw new SettingError(`${name}=${text} is no whole number from 1 up`);
  return Number(text);
}

function oneOf<T extends string>(
  properties: Properties,
  name: string,
  values: readonly T[],
  known: T,
  clean: (text: string) => string = (text) => text,
): T {
  const text = properties.get(name);
  if (text === undefined) return known;
  const found = values.find((value) => value === clean(text));
  if (found === undefined) throw new SettingError(`${name}=${text} is none of ${values.join(", ")}`);
  return found;
}

function readTls(properties: Properties): TlsOptions {
  const file = (name: string): string | undefined => {
    const path = properties.get(name);
    return path === undefined ? undefined : readFile(path, name);
  };
  const ca = file("ssl.ca.location");
  const cert = file("ssl.certificate.location");
  const key = file("ssl.key.location");
  const passphrase = properties.get("ssl.key.password");
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
  };
}

function readSasl(properties: Properties): SASLOptions {
  const name = properties.has("sasl.mechanism") ? "sasl.mechanism" : "sasl.mechanisms";
  const mechanism = oneOf(properties, name, MECHANISMS, "PLAIN", (text) => text.toUpperCase());
  const username = properties.get("sasl.username");
  const password = properties.get("sasl.password");
  if (username === undefined || password === undefined) {
    throw new SettingError("SASL needs sasl.username and sasl.password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)");
  }
  return { mechanism, username, password };
}

/** Read `action=topic`, with commas between them. */
function readRoutes(text: string): Record<string, string> {
  const routes: Record<string, string> = {};
  for (const pair of text.split(",").map((part) => part.trim())) {
    if (pair === "") continue;
    const [, action = "", topic = ""] = /^(.+)=([^=]+)$/.exec(pair) ?? [];
    if (action.trim() === "" || topic.trim() === "") {
      throw new SettingError(`${ROUTES_VARIABLE}: ${pair} is not action=topic`);
    }
    routes[action.trim()] = topic.trim();
  }
  return routes;
}

function readFile(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new SettingError(`${what}: ${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
