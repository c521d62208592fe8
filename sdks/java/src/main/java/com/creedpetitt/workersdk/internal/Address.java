package com.creedpetitt.workersdk.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import org.slf4j.Logger;

/** Where to connect to, as people write it. */
public final class Address {
    private static final String URL_VARIABLE = "WORKFLOW_URL";
    private static final String KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS";
    private static final String WORKER_DEFAULT = "kafka:9092";
    private static final String CLIENT_DEFAULT = "http://127.0.0.1:8080";
    private static final String HOST = "(?:[^/:@,\\s\\[\\]]+|\\[[0-9a-fA-F:]+\\])";
    private static final Pattern HOST_AND_PORT = Pattern.compile(HOST + ":\\d{1,5}");
    private static final Pattern HOST_MAYBE_PORT = Pattern.compile(HOST + "(?::\\d{1,5})?");
    private static final String SEPARATOR = "://";
    private static final String KAFKA_PORT = ":9092";

    private Address() {}

    /**
     * Returns the address that a worker uses: the argument, else WORKFLOW_URL, else KAFKA_BOOTSTRAP_SERVERS, else
     * {@code kafka:9092}.
     *
     * <p>An argument that is that last one gives way to the variables, and the log says so: the documentation's first
     * examples have it, and are to run wherever they say. Who means just that broker writes {@code kafka://kafka:9092}.
     *
     * @param url what was given; null or empty for nothing
     * @param environment the variables
     * @param logger where it is told that the argument gives way
     * @return an address
     */
    public static String ofWorker(String url, Map<String, String> environment, Logger logger) {
        String given = url == null ? "" : url.strip();
        if (given.isEmpty() || given.equals(WORKER_DEFAULT)) {
            for (String variable : List.of(URL_VARIABLE, KAFKA_VARIABLE)) {
                String told = environment.getOrDefault(variable, "").strip();
                if (!told.isEmpty()) {
                    if (!given.isEmpty() && !given.equals(told)) {
                        logger.info(
                                "{} in the program is the documentation's example: the address is that of {}",
                                given,
                                variable);
                    }
                    return told;
                }
            }
        }
        return given.isEmpty() ? WORKER_DEFAULT : given;
    }

    /**
     * Returns the address that a client uses: WORKFLOW_URL if it is HTTP, else {@code http://127.0.0.1:8080}.
     *
     * @param environment the variables
     * @return an address
     */
    public static String ofClient(Map<String, String> environment) {
        String variable = environment.getOrDefault(URL_VARIABLE, "").strip();
        return isHttp(variable) ? variable : CLIENT_DEFAULT;
    }

    /**
     * Tells whether an address is the orchestrator's own.
     *
     * @param url an address
     * @return true for {@code http://} and {@code https://}
     */
    public static boolean isHttp(String url) {
        String lower = url.toLowerCase(Locale.ROOT);
        return lower.startsWith("http://") || lower.startsWith("https://");
    }

    /**
     * Returns the brokers that an address names: {@code host:port}, several with commas, and the same after {@code
     * kafka://}, where the port may be left out.
     *
     * @param url an address
     * @return {@code host:port} with commas; empty when it is not one of Kafka
     */
    public static Optional<String> kafkaServers(String url) {
        int scheme = url.indexOf(SEPARATOR);
        if (scheme >= 0 && !url.substring(0, scheme).equalsIgnoreCase("kafka")) {
            return Optional.empty();
        }
        Pattern known = scheme < 0 ? HOST_AND_PORT : HOST_MAYBE_PORT;
        String servers =
                scheme < 0 ? url : url.substring(scheme + SEPARATOR.length()).replaceAll("/+$", "");
        List<String> names = new ArrayList<>();
        for (String part : servers.split(",", -1)) {
            String name = part.strip();
            if (!known.matcher(name).matches()) {
                return Optional.empty();
            }
            names.add(HOST_AND_PORT.matcher(name).matches() ? name : name + KAFKA_PORT);
        }
        return Optional.of(String.join(",", names));
    }
}
