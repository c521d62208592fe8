package com.creedpetitt.workersdk;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Map;
import java.util.regex.Pattern;
import org.slf4j.Logger;

/** Settings of a worker, from {@link Worker#builder}; each has a default. */
public final class WorkerBuilder {
    private static final Pattern WORKER_ID = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}");
    private static final int CONCURRENCY = 10;
    private static final Duration DRAIN_TIMEOUT = Duration.ofSeconds(30);
    private static final Duration LEASE_MIN = Duration.ofSeconds(1);
    private static final Duration LEASE_MAX = Duration.ofHours(1);

    int concurrency = CONCURRENCY;
    String workerId;
    Duration lease;
    Duration drainTimeout = DRAIN_TIMEOUT;
    Logger logger;
    ObjectMapper mapper;
    boolean strictOffsets;
    Map<String, ?> kafka = Map.of();
    Map<String, String> routes = Map.of();
    Map<String, String> environment = System.getenv(); // a JVM has one; tests have one for each worker

    WorkerBuilder() {}

    /**
     * Sets how many jobs it runs at once.
     *
     * @param jobs from 1 up; 10 by default
     * @return this builder
     */
    public WorkerBuilder concurrency(int jobs) {
        if (jobs < 1) {
            throw new IllegalArgumentException("concurrency is a whole number from 1 up, not " + jobs);
        }
        concurrency = jobs;
        return this;
    }

    /**
     * Sets a name that is this process's own.
     *
     * @param id 1 to 128 of {@code A-Z a-z 0-9 . _ : @ -}; made up by default
     * @return this builder
     */
    public WorkerBuilder workerId(String id) {
        if (!WORKER_ID.matcher(id).matches()) {
            throw new IllegalArgumentException("workerId is 1 to 128 of A-Z a-z 0-9 . _ : @ -, with a letter, digit"
                    + " or _ first, not '" + id + "'");
        }
        workerId = id;
        return this;
    }

    /**
     * Sets how long a job stays this worker's without a sign of life. The worker beats by itself, so a long job needs
     * no long lease.
     *
     * @param duration from a second to an hour; the orchestrator's (30 s) by default
     * @return this builder
     */
    public WorkerBuilder lease(Duration duration) {
        if (duration.compareTo(LEASE_MIN) < 0 || duration.compareTo(LEASE_MAX) > 0) {
            throw new IllegalArgumentException("lease is from a second to an hour, not " + duration);
        }
        lease = duration;
        return this;
    }

    /**
     * Sets how long jobs in hand may go on when the worker is asked to leave. What has not finished by then is given
     * back to the orchestrator, and no attempt is counted.
     *
     * @param duration from zero up; 30 s by default
     * @return this builder
     */
    public WorkerBuilder drainTimeout(Duration duration) {
        if (duration.isNegative()) {
            throw new IllegalArgumentException("drainTimeout is from zero up, not " + duration);
        }
        drainTimeout = duration;
        return this;
    }

    /**
     * Sets where it writes.
     *
     * @param given the logger named {@code workersdk} by default; where the program has no provider for slf4j, one
     *     that writes to standard error
     * @return this builder
     */
    public WorkerBuilder logger(Logger given) {
        logger = given;
        return this;
    }

    /**
     * Sets how payloads become objects of classes, and results become JSON.
     *
     * @param given by default one without modules that passes over unknown fields
     * @return this builder
     */
    public WorkerBuilder json(ObjectMapper given) {
        mapper = given;
        return this;
    }

    /**
     * Sets, over Kafka, whether to wait for the commit of a job's offset before each execution.
     *
     * @param given true waits each time, about 5 ms; false, the default, only after partitions were assigned
     * @return this builder
     */
    public WorkerBuilder strictOffsets(boolean given) {
        strictOffsets = given;
        return this;
    }

    /**
     * Sets native properties of Kafka's client, such as {@code Map.of("session.timeout.ms", 30_000)}. They win over
     * those of the environment. Those that the worker's promises rest on are refused with a {@link SettingException}
     * when it is started.
     *
     * @param properties by name
     * @return this builder
     */
    public WorkerBuilder kafka(Map<String, ?> properties) {
        kafka = Map.copyOf(properties);
        return this;
    }

    /**
     * Sets, over Kafka, actions whose jobs come on a topic of their own, as the orchestrator's {@code kafka_routes}
     * says. Those of the environment variable WORKFLOW_ROUTES ({@code action=topic}, with commas) hold for the others.
     *
     * @param topics by action
     * @return this builder
     */
    public WorkerBuilder routes(Map<String, String> topics) {
        routes = Map.copyOf(topics);
        return this;
    }

    /**
     * Makes the worker.
     *
     * @return a worker that is not started
     */
    public Worker build() {
        return new Worker(this);
    }
}
