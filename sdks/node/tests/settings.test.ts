import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SettingError } from "../src/index.js";
import { groupOf, type KafkaChoices, type KafkaSettings, readSettings, topicOf } from "../src/kafka/settings.js";
import { kafkaServers, resolveUrl } from "../src/transport/address.js";
import { Lines } from "./running.js";

const folder = mkdtempSync(join(tmpdir(), "workersdk-"));
after(() => rmSync(folder, { recursive: true }));

function read(environment: Record<string, string> = {}, choices: Partial<KafkaChoices> = {}): KafkaSettings {
  const whole = { isStrict: false, properties: {}, routes: {}, ...choices };
  return readSettings(["kafka:9092"], whole, environment, new Lines());
}

test("without a word everything has its usual name", () => {
  const settings = read();
  assert.deepEqual(settings.topics, {
    jobs: "workflow-jobs",
    results: "workflow-results",
    heartbeats: "workflow-heartbeats",
    control: "workflow-control",
  });
  assert.equal(groupOf(settings, "step1"), "workflow-worker.step1");
  assert.equal(topicOf(settings, "step1"), "workflow-jobs");
  assert.deepEqual([settings.tls, settings.sasl, settings.compression], [undefined, undefined, "lz4"]);
});

test("a prefix goes before the usual names, and not before chosen ones", () => {
  const environment = {
    WORKFLOW_KAFKA_PREFIX: "a-",
    WORKFLOW_RESULTS_TOPIC: "mine",
    WORKFLOW_ROUTES: "resize=big, x=y",
  };
  const settings = read(environment, { routes: { x: "z" } });
  assert.deepEqual([settings.topics.jobs, settings.topics.results], ["a-workflow-jobs", "mine"]);
  assert.equal(groupOf(settings, "step1"), "a-workflow-worker.step1");
  assert.deepEqual([topicOf(settings, "resize"), topicOf(settings, "x")], ["a-big", "a-z"]);
  assert.throws(() => read({ WORKFLOW_ROUTES: "resize" }), /WORKFLOW_ROUTES: resize is not action=topic/);
});

test("what is nearer to the program wins", () => {
  const environment = { KAFKA_PROP_SESSION_TIMEOUT_MS: "20000" };
  assert.equal(read(environment).numbers["session.timeout.ms"], 20_000);
  const properties = { "session.timeout.ms": 30_000 };
  assert.equal(read(environment, { properties }).numbers["session.timeout.ms"], 30_000);
});

test("what the promises rest on, and what is not known, is refused", () => {
  assert.throws(() => read({}, { properties: { "enable.auto.commit": true } }), /the worker's own and cannot be set/);
  assert.throws(() => read({ KAFKA_PROP_GROUP_ID: "mine" }), SettingError);
  assert.throws(() => read({}, { properties: { "no.such": 1 } }), /no\.such is not known here/);
  assert.throws(() => read({ KAFKA_PROP_SSL_CIPHER_SUITES: "x" }), /ssl\.cipher\.suites is not known here/);
  assert.equal(read({ KAFKA_PROP_SOCKET_KEEPALIVE_ENABLE: "true" }).isStrict, false);
  assert.throws(() => read({}, { properties: { "session.timeout.ms": "soon" } }), /no whole number/);
  assert.throws(() => read({}, { properties: { "heartbeat.interval.ms": 9_000 } }), /at most half/);
});

test("security is read from variables and files, and a secret is in no error", () => {
  const file = join(folder, "secret");
  writeFileSync(file, "hunter2\n");
  const environment = {
    KAFKA_SECURITY_PROTOCOL: "SASL_SSL",
    KAFKA_SASL_MECHANISM: "SCRAM-SHA-512",
    KAFKA_SASL_USERNAME: "worker",
    KAFKA_SASL_PASSWORD_FILE: file,
    KAFKA_SSL_CA: file,
  };
  const { sasl, tls } = read(environment);
  assert.deepEqual(sasl, { mechanism: "SCRAM-SHA-512", username: "worker", password: "hunter2" });
  assert.deepEqual(tls, { ca: "hunter2\n" });
  assert.throws(() => read({ ...environment, KAFKA_SASL_MECHANISM: "GSSAPI" }), /sasl\.mechanism=GSSAPI is none of/);
  assert.throws(
    () => read({ ...environment, KAFKA_SSL_CA: "/none" }),
    /ssl\.ca\.location: \/none cannot be read: ENOENT/,
  );
  assert.throws(
    () => read({ KAFKA_SECURITY_PROTOCOL: "SASL_PLAINTEXT" }),
    /SASL needs sasl\.username and sasl\.password/,
  );
});

test("an address is one of brokers or of an orchestrator", () => {
  assert.deepEqual(kafkaServers("kafka:9092"), ["kafka:9092"]);
  assert.deepEqual(kafkaServers("a:1, b:2"), ["a:1", "b:2"]);
  assert.deepEqual(kafkaServers("kafka://a,b:2/"), ["a", "b:2"]);
  assert.deepEqual(kafkaServers("[::1]:9092"), ["[::1]:9092"]);
  for (const other of ["http://h:1", "kafka", "a:b", "a:1,b"]) assert.equal(kafkaServers(other), undefined);
  const { WORKFLOW_URL, KAFKA_BOOTSTRAP_SERVERS } = process.env;
  delete process.env.WORKFLOW_URL;
  delete process.env.KAFKA_BOOTSTRAP_SERVERS;
  const lines = new Lines();
  const resolve = (url?: string): string => resolveUrl(url, lines);
  assert.deepEqual([resolve(), resolve("kafka:9092")], ["kafka:9092", "kafka:9092"]);
  process.env.KAFKA_BOOTSTRAP_SERVERS = "b:1";
  assert.equal(resolve(), "b:1");
  process.env.WORKFLOW_URL = "http://me:secret@o:8080";
  assert.equal(resolve(), "http://me:secret@o:8080");
  for (const chosen of ["c:1", "kafka:9093", "kafka://kafka:9092", "kafka:9092,c:1", "http://here:8080"]) {
    assert.equal(resolve(chosen), chosen);
  }
  assert.equal(lines.lines.length, 0);
  assert.equal(resolve(" kafka:9092 "), "http://me:secret@o:8080");
  process.env.WORKFLOW_URL = "kafka:9092";
  assert.equal(resolve("kafka:9092"), "kafka:9092");
  assert.deepEqual(lines.having("in the program", "info"), [
    "kafka:9092 in the program is the documentation's example: the address is that of WORKFLOW_URL",
  ]);
  delete process.env.WORKFLOW_URL;
  delete process.env.KAFKA_BOOTSTRAP_SERVERS;
  Object.assign(process.env, WORKFLOW_URL && { WORKFLOW_URL }, KAFKA_BOOTSTRAP_SERVERS && { KAFKA_BOOTSTRAP_SERVERS });
});
