package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.internal.Address;
import com.creedpetitt.workersdk.internal.Signals;
import com.creedpetitt.workersdk.internal.StderrLogger;
import com.creedpetitt.workersdk.internal.Version;
import com.creedpetitt.workersdk.internal.http.Http;
import com.creedpetitt.workersdk.internal.http.HttpLife;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.kafka.KafkaConfig;
import com.creedpetitt.workersdk.internal.kafka.KafkaLife;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Life;
import com.creedpetitt.workersdk.internal.work.RegisteredHandler;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.slf4j.Logger;

/**
 * Does the jobs of the actions that it has handlers for.
 *
 * <pre>{@code
 * Worker worker = new Worker();
 * worker.register("step1", payload -> "Processed: " + payload);
 * worker.register("charge", Order.class, (order, context) -> bank.charge(order, context.jobId()));
 * worker.start("http://127.0.0.1:8080");
 * }</pre>
 */
public final class Worker {
    private static final Pattern WORKER_ID = Pattern.compile("[A-Za-z0-9_][A-Za-z0-9._:@-]{0,127}");
    private static final int HOST_MAX = 64;
    private static final int RANDOM_MAX = 1 << 24;

    private final Builder settings;
    private final String workerId;
    private final Json json;
    private final Logger logger;
    private final Map<String, RegisteredHandler> handlers = new LinkedHashMap<>();
    private boolean isRunning;
    private boolean isStoppedEarly;
    private Life life;

    /** Makes a worker with the usual settings. */
    public Worker() {
        this(builder());
    }

    private Worker(Builder settings) {
        this.settings = settings;
        this.workerId = settings.workerId == null ? makeWorkerId() : settings.workerId;
        this.json = new Json(settings.mapper);
        this.logger = settings.logger == null ? StderrLogger.orTheProgramsOwn("workersdk") : settings.logger;
    }

    /**
     * Makes a worker with other settings.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Returns the name that is this worker's own.
     *
     * @return the id
     */
    public String workerId() {
        return workerId;
    }

    /**
     * Says what does an action. The payload is what JSON is in Java: a map, a list, a string, an Integer, Long or
     * BigInteger, a Double, a Boolean, or null.
     *
     * @param action its name
     * @param handler what does it; each call runs on a thread of its own, and what it throws is a failed attempt
     * @return this worker
     * @throws IllegalArgumentException the action has a handler already
     */
    public Worker register(String action, Handler<Object> handler) {
        return add(action, null, (payload, context) -> handler.handle(payload));
    }

    /**
     * Says what does an action, with the context of the attempt.
     *
     * @param action its name
     * @param handler what does it
     * @return this worker
     * @throws IllegalArgumentException the action has a handler already
     */
    public Worker register(String action, ContextHandler<Object> handler) {
        return add(action, null, handler);
    }

    /**
     * Says what does an action, with a payload of a class. Fields that the class does not have are passed over; a payload
     * that is something else fails the step for good, as {@code PayloadMismatch}.
     *
     * @param <T> the payload
     * @param action its name
     * @param type what Jackson reads the payload as; {@code JsonNode.class} keeps every digit and field
     * @param handler what does it
     * @return this worker
     * @throws IllegalArgumentException the action has a handler already
     */
    public <T> Worker register(String action, Class<T> type, Handler<T> handler) {
        return register(action, type, (payload, context) -> handler.handle(payload));
    }

    /**
     * Says what does an action, with a payload of a class and the context of the attempt.
     *
     * @param <T> the payload
     * @param action its name
     * @param type what Jackson reads the payload as
     * @param handler what does it
     * @return this worker
     * @throws IllegalArgumentException the action has a handler already
     */
    public <T> Worker register(String action, Class<T> type, ContextHandler<T> handler) {
        return add(action, json.mapper().constructType(type), cast(handler));
    }

    /**
     * Says what does an action, with a payload of a generic type and the context of the attempt.
     *
     * @param <T> the payload
     * @param action its name
     * @param type such as {@code new TypeReference<List<Order>>() {}}
     * @param handler what does it
     * @return this worker
     * @throws IllegalArgumentException the action has a handler already
     */
    public <T> Worker register(String action, TypeReference<T> type, ContextHandler<T> handler) {
        return add(action, json.mapper().getTypeFactory().constructType(type), cast(handler));
    }

    /**
     * Connects and does jobs until told to stop, at the address of the environment variable WORKFLOW_URL, else
     * KAFKA_BOOTSTRAP_SERVERS, else {@code kafka:9092}. Blocks; see {@link #start(String, String)}.
     */
    public void start() {
        start(null, null);
    }

    /**
     * Connects and does jobs until told to stop. Blocks; see {@link #start(String, String)}.
     *
     * @param url where to connect to
     */
    public void start(String url) {
        start(url, null);
    }

    /**
     * Connects and does jobs until told to stop. Blocks.
     *
     * <p>SIGTERM, Ctrl-C, {@link #stop} from another thread, or a word from the orchestrator make the worker finish what
     * it has in hand and return; a second signal, {@link #stopNow}, or an interruption of the calling thread make it give
     * everything back and return at once. After a signal the process ends, with code 0, when its workers have left.
     * While the orchestrator cannot be reached the worker keeps trying.
     *
     * @param url {@code http://host:port} or {@code https://host:port} is the orchestrator itself; {@code host:port},
     *     {@code host1:port,host2:port} or {@code kafka://host:port} are Kafka brokers; null for what the environment says
     * @param group a name for this fleet of workers, shown to people. It is announced and nothing else: over Kafka the
     *     workers of an action are one consumer group, whatever they are called here, so that a job is not done twice
     * @throws InvalidUrlException the address cannot be read
     * @throws SettingException a setting cannot be used
     * @throws RegistrationException the orchestrator refuses this worker
     */
    public void start(String url, String group) {
        begin();
        Run run = new Run(Thread.currentThread());
        // For a program that calls System.exit, and for a JVM in which signals cannot be heard.
        Thread hook = new Thread(run::leaveAndWait, "workersdk-shutdown");
        try {
            Life opened = open(url, group);
            Runtime.getRuntime().addShutdownHook(hook);
            Signals.add(run);
            synchronized (this) {
                life = opened;
                if (isStoppedEarly) {
                    opened.leave();
                }
            }
            opened.run();
            run.hasLeftWell = true;
        } finally {
            synchronized (this) {
                life = null;
                isRunning = false;
            }
            run.hasEnded.countDown();
            Signals.remove(run);
            forget(hook);
        }
    }

    /** One call of {@link #start(String, String)}, as signals see it. */
    private final class Run implements Signals.Listener {
        private static final long PROGRAM_MS = 1_000;

        private final CountDownLatch hasEnded = new CountDownLatch(1);
        private final Thread thread;
        private volatile boolean hasLeftWell;

        Run(Thread thread) {
            this.thread = thread;
        }

        @Override
        public void leave() {
            stop();
        }

        @Override
        public void leaveAtOnce() {
            stopNow();
        }

        @Override
        public boolean awaitEnd() throws InterruptedException {
            hasEnded.await(); // it ends by itself: draining and saying goodbye take no longer than they may
            thread.join(PROGRAM_MS); // what comes after start() in the program
            return hasLeftWell;
        }

        void leaveAndWait() {
            stop();
            try {
                hasEnded.await();
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Finishes what is in hand and returns from {@link #start()}. Safe to call from any thread, and twice. */
    public synchronized void stop() {
        if (life != null) {
            life.leave();
        } else if (isRunning) {
            isStoppedEarly = true;
        }
    }

    /**
     * Gives everything in hand back and returns from {@link #start()}. Safe to call from any thread. No attempt is
     * counted for what is given back.
     */
    public synchronized void stopNow() {
        if (life != null) {
            life.leaveAtOnce();
        } else if (isRunning) {
            isStoppedEarly = true;
        }
    }

    /**
     * Returns what is registered, for this library's own parts.
     *
     * @return handlers by action
     */
    public Map<String, RegisteredHandler> handlers() {
        return Collections.unmodifiableMap(handlers);
    }

    /**
     * Returns how values become JSON, for this library's own parts.
     *
     * @return the mapper's wrapper
     */
    public Json json() {
        return json;
    }

    @Override
    public String toString() {
        String actions = handlers.isEmpty() ? "none" : String.join(", ", handlers.keySet());
        return "<Worker " + workerId + " actions: " + actions + ">";
    }

    private synchronized Worker add(String action, JavaType type, ContextHandler<Object> handler) {
        if (action == null || action.isEmpty()) {
            throw new IllegalArgumentException("an action is a non-empty string");
        }
        if (isRunning) {
            throw new WorkflowException("register '" + action + "' before the worker is started");
        }
        if (handlers.containsKey(action)) {
            throw new IllegalArgumentException("the action '" + action + "' has a handler already");
        }
        handlers.put(action, new RegisteredHandler(action, type, handler));
        return this;
    }

    @SuppressWarnings("unchecked") // the payload is read as the handler's own type before it is called
    private static <T> ContextHandler<Object> cast(ContextHandler<T> handler) {
        return (ContextHandler<Object>) handler;
    }

    private synchronized void begin() {
        if (isRunning) {
            throw new WorkflowException("this worker is running already");
        }
        if (handlers.isEmpty()) {
            throw new WorkflowException(
                    "this worker has no handlers: call worker.register(\"my-action\", payload -> …) first");
        }
        isRunning = true;
        isStoppedEarly = false;
    }

    private Life open(String url, String group) {
        Map<String, String> environment = System.getenv();
        String address = Address.ofWorker(url, environment);
        Hello hello = new Hello(
                workerId,
                new ArrayList<>(handlers.keySet()),
                Version.SDK,
                Version.VERSION,
                hostName(),
                ProcessHandle.current().pid(),
                settings.concurrency,
                settings.lease == null ? null : seconds(settings.lease));
        double drain = seconds(settings.drainTimeout);
        if (Address.isHttp(address)) {
            return new HttpLife(new Http(address, environment), hello, handlers, json, drain, logger);
        }
        String servers = Address.kafkaServers(address)
                .orElseThrow(() -> new InvalidUrlException("'" + address
                        + "' is not an address that this version knows. Known are http://host:port and https://host:port,"
                        + " the address of the orchestrator, and host:port, host1:port,host2:port and kafka://host:port,"
                        + " those of Kafka"));
        KafkaConfig config =
                KafkaConfig.read(servers, settings.kafka, settings.routes, settings.strictOffsets, environment);
        return new KafkaLife(config, hello, group, handlers, json, drain, logger);
    }

    private static void forget(Thread hook) {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException error) {
            return; // the process is about to end: the hook is what we are here for
        }
    }

    private static double seconds(Duration duration) {
        return duration.toMillis() / 1000.0;
    }

    private static String makeWorkerId() {
        String host = hostName().replaceAll("[^A-Za-z0-9._-]", "-");
        String shown = host.substring(0, Math.min(host.length(), HOST_MAX));
        long pid = ProcessHandle.current().pid();
        return String.format("w-%s-%d-%06x", shown, pid, new SecureRandom().nextInt(RANDOM_MAX));
    }

    private static String hostName() {
        String named = System.getenv("HOSTNAME");
        if (named != null && !named.isBlank()) {
            return named;
        }
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException error) {
            return "unknown";
        }
    }

    /** Settings of a worker; each has a default. */
    public static final class Builder {
        private static final int CONCURRENCY = 10;
        private static final Duration DRAIN_TIMEOUT = Duration.ofSeconds(30);
        private static final Duration LEASE_MIN = Duration.ofSeconds(1);
        private static final Duration LEASE_MAX = Duration.ofHours(1);

        private int concurrency = CONCURRENCY;
        private String workerId;
        private Duration lease;
        private Duration drainTimeout = DRAIN_TIMEOUT;
        private Logger logger;
        private ObjectMapper mapper;
        private boolean strictOffsets;
        private Map<String, ?> kafka = Map.of();
        private Map<String, String> routes = Map.of();

        private Builder() {}

        /**
         * Sets how many jobs it runs at once.
         *
         * @param jobs from 1 up; 10 by default
         * @return this builder
         */
        public Builder concurrency(int jobs) {
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
        public Builder workerId(String id) {
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
        public Builder lease(Duration duration) {
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
        public Builder drainTimeout(Duration duration) {
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
        public Builder logger(Logger given) {
            logger = given;
            return this;
        }

        /**
         * Sets how payloads become objects of classes, and results become JSON.
         *
         * @param given by default one without modules that passes over unknown fields
         * @return this builder
         */
        public Builder json(ObjectMapper given) {
            mapper = given;
            return this;
        }

        /**
         * Sets, over Kafka, whether to wait for the commit of a job's offset before each execution.
         *
         * @param given true waits each time, about 5 ms; false, the default, only after partitions were assigned
         * @return this builder
         */
        public Builder strictOffsets(boolean given) {
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
        public Builder kafka(Map<String, ?> properties) {
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
        public Builder routes(Map<String, String> topics) {
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
}
