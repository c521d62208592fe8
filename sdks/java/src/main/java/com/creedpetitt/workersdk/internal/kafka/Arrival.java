package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.slf4j.Logger;

/**
 * The way to the brokers: makes the clients, and tries until the brokers and the topics are there and no dead predecessor is
 * in the way. On a thread of its own, which may wait.
 *
 * <p>Whoever does not want to wait any longer cancels the future; then what was made is closed here.
 */
final class Arrival {
    private static final double LOOK_AGAIN_S = 0.5;

    private final KafkaConfig config;
    private final Hello hello;
    private final Loop loop;
    private final Logger logger;
    private final Consumer<List<JsonNode>> onCancel;
    private final CompletableFuture<Void> leaving;
    private final CompletableFuture<Clients.Opened> arrived = new CompletableFuture<>();
    private final Map<String, KafkaConsumer<byte[], byte[]>> groups = new LinkedHashMap<>();
    private Sender sender;
    private Control control;
    private KafkaConsumer<byte[], byte[]> reader;

    /** {@code onCancel} takes the orchestrator's words, on the thread that reads them. */
    Arrival(
            KafkaConfig config,
            Hello hello,
            Loop loop,
            Logger logger,
            Consumer<List<JsonNode>> onCancel,
            CompletableFuture<Void> leaving) {
        this.config = config;
        this.hello = hello;
        this.loop = loop;
        this.logger = logger;
        this.onCancel = onCancel;
        this.leaving = leaving;
    }

    /** Sets out. The clients are his who gets them. */
    CompletableFuture<Clients.Opened> begin() {
        Thread thread = new Thread(this::run, "workersdk-connect");
        thread.setDaemon(true);
        thread.start();
        return arrived;
    }

    private void run() {
        boolean isHandedOver = false;
        try {
            if (findBrokers() && waitForTheDead()) {
                isHandedOver = arrived.complete(new Clients.Opened(sender, control, reader, groups));
            }
        } catch (Throwable error) {
            arrived.completeExceptionally(error);
        } finally {
            if (!isHandedOver) {
                new Clients.Opened(sender, control, reader, groups).close();
            }
        }
    }

    /** Tries until all is there; false when the worker was told to leave before that. */
    private boolean findBrokers() throws InterruptedException {
        boolean isTold = false;
        for (String missing = look(); missing != null; missing = look()) {
            if (!isTold) {
                logger.warn("cannot reach {} ({}); retrying", config.address(), missing);
                isTold = true;
            }
            if (isLeavingWithin(LOOK_AGAIN_S)) {
                return false;
            }
        }
        return !leaving.isDone();
    }

    /** Makes what is not there yet, and looks; returns what is missing, or null. */
    private String look() {
        try {
            if (sender == null) {
                sender = new Sender(
                        config, hello.workerId(), Clients.producer(config.producer(hello.workerId())), loop, logger);
            }
            if (control == null) {
                control = new Control(config, consumer(null), hello.actions(), logger, onCancel, leaving::isDone);
            }
            String missing = control.look();
            if (missing == null && reader == null) {
                reader = consumer(null);
            }
            for (String action : missing == null ? hello.actions() : List.<String>of()) {
                if (!groups.containsKey(action)) {
                    groups.put(action, consumer(config.groupOf(action)));
                }
            }
            return missing;
        } catch (Clients.NoSuchHostException error) {
            return error.getMessage();
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(String group) throws Clients.NoSuchHostException {
        return Clients.consumer(config.consumer(hello.workerId(), group));
    }

    /**
     * Lets the others of the groups go on until it is known there that a worker which was here has died; false when this one
     * was told to leave meanwhile.
     */
    private boolean waitForTheDead() throws InterruptedException {
        try (Admin admin = Clients.admin(config.admin(hello.workerId()))) {
            Predecessors predecessors = new Predecessors(config, admin, hello.workerId(), hello.actions(), logger);
            double until = Loop.now() + predecessors.patience();
            boolean isTold = false;
            for (Set<String> dead = predecessors.find();
                    !dead.isEmpty() && Loop.now() < until;
                    dead = predecessors.find()) {
                if (!isTold) {
                    logger.info("waiting until the groups have noticed that {} is dead", String.join(", ", dead));
                    isTold = true;
                }
                if (isLeavingWithin(LOOK_AGAIN_S)) {
                    return false;
                }
            }
        } catch (Clients.NoSuchHostException error) {
            logger.debug("who is in the groups is not known: {}", error.getMessage());
        }
        return !leaving.isDone();
    }

    private boolean isLeavingWithin(double seconds) throws InterruptedException {
        try {
            leaving.get((long) (seconds * 1000), TimeUnit.MILLISECONDS);
            return true;
        } catch (TimeoutException error) {
            return false;
        } catch (ExecutionException error) {
            throw new IllegalStateException(error.getCause()); // nobody fails it
        }
    }
}
