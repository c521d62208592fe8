package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.SettingException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;

/**
 * Everything that can be set about Kafka, read once, before the first connection.
 *
 * <p>Rule 1: a name that is set nearer to the program wins: our default, the environment, {@code Worker.builder().kafka}.
 *
 * <p>Rule 2: what the worker's promises rest on cannot be set.
 *
 * <p>Rule 3: a secret is in the properties and nowhere else: no text, no log line, no error holds a value of theirs.
 */
public final class KafkaConfig {
    static final double LEASE_S_DEFAULT = 30;

    private static final String PROPERTY_PREFIX = "KAFKA_PROP_";
    private static final String ROUTES_VARIABLE = "WORKFLOW_ROUTES";
    private static final String GROUP_PREFIX = "workflow-worker.";
    private static final String PASSWORD_FILE = "KAFKA_SASL_PASSWORD_FILE";
    private static final String SESSION = "session.timeout.ms";
    private static final String BUILDER = "Worker.builder().kafka";

    // What the worker's promises rest on: offsets ahead of execution, one group for an action, results that are not
    // lost, and no call that waits where nobody may.
    private static final Set<String> OWN = Set.of(
            "acks",
            "allow.auto.create.topics",
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
            "key.deserializer",
            "key.serializer",
            "max.block.ms",
            "metadata.broker.list",
            "partition.assignment.strategy",
            "partitioner",
            "partitioner.class",
            "request.required.acks",
            "transactional.id",
            "value.deserializer",
            "value.serializer");

    private static final Map<String, String> VARIABLES = Map.of(
            "KAFKA_SECURITY_PROTOCOL", "security.protocol",
            "KAFKA_SASL_MECHANISM", "sasl.mechanism",
            "KAFKA_SASL_USERNAME", "sasl.username",
            "KAFKA_SASL_PASSWORD", "sasl.password",
            "KAFKA_SSL_CA", "ssl.ca.location");

    private static final Map<String, Object> COMMON = Map.of(
            // A broker that restarts is found again within two seconds.
            "reconnect.backoff.ms", 100,
            "reconnect.backoff.max.ms", 2_000,
            "metadata.max.age.ms", 30_000,
            "enable.metrics.push", false,
            "metric.reporters", "");
    private static final Map<String, Object> CONSUMER = Map.of(
            SESSION,
            10_000,
            "heartbeat.interval.ms",
            1_000,
            "max.poll.interval.ms",
            300_000,
            "request.timeout.ms",
            10_000,
            "default.api.timeout.ms",
            10_000,
            "fetch.min.bytes",
            1,
            "fetch.max.wait.ms",
            100,
            "fetch.max.bytes",
            4 * 1024 * 1024,
            "max.poll.records",
            250);
    private static final Map<String, Object> PRODUCER = Map.of(
            "linger.ms", 0,
            "compression.type", "lz4",
            "delivery.timeout.ms", 120_000,
            // A topic that had no result for some minutes is still known when there is one.
            "metadata.max.idle.ms", 86_400_000,
            // The broker's limit decides, not the client's; a result is at most 2 MiB.
            "max.request.size", 4 * 1024 * 1024);
    private static final Map<String, Object> OWN_CONSUMER = Map.of(
            "enable.auto.commit",
            false,
            "group.protocol",
            "classic",
            "allow.auto.create.topics",
            false,
            // The one assignor that the clients of all languages have by the same name.
            "partition.assignment.strategy",
            RoundRobinAssignor.class.getName());
    private static final Map<String, Object> OWN_PRODUCER = Map.of(
            "acks",
            "all",
            "enable.idempotence",
            true,
            // Nobody may wait on the loop: what cannot be sent now is sent again.
            "max.block.ms",
            0);

    private final String servers;
    private final Topics topics;
    private final Map<String, String> routes;
    private final String prefix;
    private final boolean isStrict;
    private final Map<String, Object> properties;

    private KafkaConfig(
            String servers,
            Topics topics,
            Map<String, String> routes,
            String prefix,
            boolean isStrict,
            Map<String, Object> properties) {
        this.servers = servers;
        this.topics = topics;
        this.routes = routes;
        this.prefix = prefix;
        this.isStrict = isStrict;
        this.properties = properties;
    }

    /**
     * Puts together what the environment and the program say.
     *
     * @param servers {@code host:port}, several with commas
     * @param settings native properties of Kafka's client
     * @param routes actions whose jobs come on a topic of their own
     * @param isStrict wait for the commit before each execution, and not only after an assignment
     * @param environment the variables
     * @return the configuration
     * @throws SettingException something cannot be used
     */
    public static KafkaConfig read(
            String servers,
            Map<String, ?> settings,
            Map<String, String> routes,
            boolean isStrict,
            Map<String, String> environment) {
        Map<String, Object> properties = new HashMap<>();
        VARIABLES.forEach((variable, name) -> {
            if (!environment.getOrDefault(variable, "").isEmpty()) {
                properties.put(name, environment.get(variable));
            }
        });
        if (!environment.getOrDefault(PASSWORD_FILE, "").isEmpty()) {
            properties.put("sasl.password", readSecret(environment.get(PASSWORD_FILE)));
        }
        environment.forEach((variable, value) -> {
            if (variable.startsWith(PROPERTY_PREFIX)) {
                String name = variable.substring(PROPERTY_PREFIX.length());
                properties.put(refuseOwn(name.toLowerCase(Locale.ROOT).replace('_', '.'), variable), value);
            }
        });
        settings.forEach((name, value) -> properties.put(refuseOwn(name, BUILDER), value));
        String prefix = environment.getOrDefault(Topics.PREFIX_VARIABLE, "");
        Map<String, String> chosen = new HashMap<>(readRoutes(environment.getOrDefault(ROUTES_VARIABLE, "")));
        chosen.putAll(routes);
        chosen.replaceAll((action, topic) -> prefix + topic);
        translate(properties);
        return new KafkaConfig(servers, Topics.of(environment), chosen, prefix, isStrict, properties);
    }

    /** Returns where the brokers are, for log lines. */
    String address() {
        return "kafka://" + servers;
    }

    Topics topics() {
        return topics;
    }

    boolean isStrict() {
        return isStrict;
    }

    /** Returns the topic that the jobs of an action come on. */
    String topicOf(String action) {
        return routes.getOrDefault(action, topics.jobs());
    }

    /** Returns the consumer group of all workers of an action. */
    String groupOf(String action) {
        return prefix + GROUP_PREFIX + action;
    }

    /** Returns how many seconds a group waits for a member that gives no sign of life. */
    double session() {
        Object millis = properties.getOrDefault(SESSION, CONSUMER.get(SESSION));
        return Double.parseDouble(millis.toString()) / 1000;
    }

    /** Returns the configuration of a consumer of a group; null for none. */
    Map<String, Object> consumer(String clientId, String group) {
        Map<String, Object> all = merge(clientId, CONSUMER, OWN_CONSUMER);
        all.put("auto.offset.reset", group == null ? "earliest" : "latest");
        if (group != null) {
            all.put("group.id", group);
        }
        return all;
    }

    /** Returns the configuration of the producer. */
    Map<String, Object> producer(String clientId) {
        return merge(clientId, PRODUCER, OWN_PRODUCER);
    }

    /** Returns the configuration of a client that asks about groups. */
    Map<String, Object> admin(String clientId) {
        return merge(clientId, Map.of(), Map.of());
    }

    private Map<String, Object> merge(String clientId, Map<String, Object> defaults, Map<String, Object> own) {
        Map<String, Object> all = new HashMap<>(COMMON);
        all.put("client.id", clientId);
        all.putAll(defaults);
        all.putAll(properties);
        all.putAll(own);
        all.put("bootstrap.servers", servers);
        return all;
    }

    /** Writes what all our SDKs call by one name in the words of Java's client. */
    private static void translate(Map<String, Object> properties) {
        Object authority = properties.remove("ssl.ca.location");
        if (authority != null) {
            properties.put("ssl.truststore.type", "PEM");
            properties.put("ssl.truststore.location", authority);
        }
        Object user = properties.remove("sasl.username");
        Object password = properties.remove("sasl.password");
        if (user != null) {
            boolean isScram = String.valueOf(properties.get("sasl.mechanism")).startsWith("SCRAM");
            String module = isScram ? "scram.ScramLoginModule" : "plain.PlainLoginModule";
            properties.put(
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security." + module + " required username=" + quote(user) + " password="
                            + quote(password == null ? "" : password) + ";");
        }
    }

    private static String quote(Object value) {
        return "\"" + value.toString().replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    private static String refuseOwn(String name, String where) {
        if (OWN.contains(name)) {
            throw new SettingException(where + ": the Kafka property " + name
                    + " is the worker's own and cannot be set: its promises rest on it");
        }
        return name;
    }

    private static Map<String, String> readRoutes(String text) {
        Map<String, String> routes = new HashMap<>();
        for (String part : text.split(",")) {
            String pair = part.strip();
            int equals = pair.lastIndexOf('=');
            if (pair.isEmpty()) {
                continue;
            }
            if (equals < 1 || equals == pair.length() - 1) {
                throw new SettingException(ROUTES_VARIABLE + ": '" + pair + "' is not action=topic");
            }
            routes.put(
                    pair.substring(0, equals).strip(),
                    pair.substring(equals + 1).strip());
        }
        return routes;
    }

    private static String readSecret(String path) {
        try {
            return Files.readString(Path.of(path)).replaceAll("[\\r\\n]+$", "");
        } catch (IOException | RuntimeException error) {
            String reason = error.getClass().getSimpleName();
            throw new SettingException(PASSWORD_FILE + ": " + path + " cannot be read: " + reason);
        }
    }
}
