package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.internal.Address;
import com.creedpetitt.workersdk.internal.Machine;
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
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
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
    private final WorkerBuilder settings;
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

    Worker(WorkerBuilder settings) {
        this.settings = settings;
        this.workerId = settings.workerId == null ? Machine.makeWorkerId() : settings.workerId;
        this.json = new Json(settings.mapper);
        this.logger = settings.logger == null ? StderrLogger.orTheProgramsOwn("workersdk") : settings.logger;
    }

    /**
     * Makes a worker with other settings.
     *
     * @return a builder
     */
    public static WorkerBuilder builder() {
        return new WorkerBuilder();
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
        return add(action, null, withoutContext(handler));
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
        return register(action, type, withoutContext(handler));
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
     *     {@code host1:port,host2:port} or {@code kafka://host:port} are Kafka brokers; null for what the environment says.
     *     {@code kafka:9092} gives way to the environment, {@code kafka://kafka:9092} does not
     * @param group a name for this fleet of workers, for people. Over Kafka its heartbeats tell it, and nothing else comes
     *     of it: the workers of an action are one consumer group, whatever they are called here, so that a job is not done
     *     twice. Over HTTP the orchestrator gives each job to one worker anyway
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
        if (handler == null) {
            throw new IllegalArgumentException("the handler of '" + action + "' is null");
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

    private static <T> ContextHandler<T> withoutContext(Handler<T> handler) {
        return handler == null ? null : (payload, context) -> handler.handle(payload);
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
        Map<String, String> environment = settings.environment;
        String address = Address.ofWorker(url, environment, logger);
        Hello hello = new Hello(
                workerId,
                new ArrayList<>(handlers.keySet()),
                Version.SDK,
                Version.VERSION,
                Machine.hostName(),
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
}
