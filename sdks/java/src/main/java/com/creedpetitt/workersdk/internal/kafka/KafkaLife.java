package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Failure;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.Life;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.creedpetitt.workersdk.internal.work.RegisteredHandler;
import com.creedpetitt.workersdk.internal.work.Stop;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import org.slf4j.Logger;

/**
 * One life of a worker over Kafka: takes jobs from a topic, one consumer group for each action, and writes results to
 * another.
 *
 * <p>Rule 1: a place is given back when the result is written, not when it has arrived; but results that do not arrive hold
 * places once there are too many of them, so that an outage does not fill the memory.
 *
 * <p>Rule 2: results of one turn of the loop go out together. After many of them those of the next few milliseconds do: a
 * request costs more than what is in it. Their places are free meanwhile.
 *
 * <p>Rule 3: a job that runs alone may end this process: it starts when no result is left in it that could be lost with it.
 */
public final class KafkaLife extends Life {
    private static final int UNSENT_MAX = 10_000;
    private static final long UNSENT_BYTES_MAX = 64 * 1024 * 1024;
    private static final int CANCELLED_MAX = 10_000;
    private static final double LEAVE_GROUPS_S = 3.0;
    private static final int MANY = 8;
    private static final double REST_S = 0.002;

    private final KafkaConfig config;
    private final String group;
    private final double lease;
    private final Slots slots;
    private final Undecodable undecodable;
    private final Map<String, Boolean> cancelled = new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > CANCELLED_MAX;
        }
    };
    private final List<Outcome> ready = new ArrayList<>(); // results of this turn of the loop
    private int free; // places of this turn of the loop
    private boolean isEndingTurn;
    private Future<?> flushing;
    private double restsUntil; // when results are sent again
    private int unsentCount;
    private long unsentBytes;
    private int held; // places that are held back until results have arrived
    private CompletableFuture<Clients.Opened> arrival = CompletableFuture.failedFuture(new CancellationException());
    private Clients.Opened clients; // once it has begun
    private Sender sender;
    private KafkaHeartbeats heartbeats;
    private Reader reader;
    private Groups groups;

    /**
     * Makes one; nothing is connected yet.
     *
     * @param config how Kafka is used
     * @param hello what the worker says about itself
     * @param group the name of the fleet, for people; or null
     * @param handlers by action
     * @param json how values become JSON
     * @param drainTimeout seconds that jobs in hand get to finish
     * @param logger where it writes
     */
    public KafkaLife(
            KafkaConfig config,
            Hello hello,
            String group,
            Map<String, RegisteredHandler> handlers,
            Json json,
            double drainTimeout,
            Logger logger) {
        super(hello, handlers, json, drainTimeout, logger);
        this.config = config;
        this.group = group;
        this.lease = hello.lease() == null ? KafkaConfig.LEASE_S_DEFAULT : hello.lease();
        this.slots = new Slots(hello.concurrency());
        this.undecodable = new Undecodable(logger);
    }

    // ------------------------------------------------------------ the stages

    @Override
    protected String address() {
        return config.address();
    }

    @Override
    protected int unsent() {
        return unsentCount;
    }

    @Override
    protected CompletableFuture<?> connect() {
        arrival = new Arrival(config, hello, loop, logger, words -> loop.execute(() -> cancel(words)), leaving).begin();
        return arrival;
    }

    @Override
    protected void begin() {
        Predecessors.noteHere(hello.workerId());
        clients = arrival.join();
        sender = clients.sender();
        sender.share(clients.control().resultPartitions());
        sender.expect(config.topics().results());
        Outage outage = new Outage(address(), logger);
        heartbeats = new KafkaHeartbeats(
                hello,
                group,
                config.topics().heartbeats(),
                lease,
                loop,
                sender,
                jobs,
                execution,
                this::capacity,
                outage);
        heartbeats.begin();
        reader = new Reader(clients.reader(), lease, undecodable, logger, this::failed);
        List<ActionGroup> all = new ArrayList<>();
        clients.groups()
                .forEach((action, consumer) -> all.add(new ActionGroup(
                        action,
                        config,
                        consumer,
                        reader,
                        slots,
                        logger,
                        jobs -> loop.execute(() -> accept(jobs)),
                        this::stirGroups)));
        groups = new Groups(all, clients.control(), this::failed);
        reader.start();
        groups.start();
    }

    private void stirGroups() {
        if (groups != null) {
            groups.stir();
        }
    }

    @Override
    protected void stopTaking() {
        if (groups != null) {
            groups.stop();
        }
    }

    @Override
    protected CompletableFuture<Void> flush() {
        sendReady();
        return sender.sent();
    }

    @Override
    protected void sayGoodbye(double timeout) {
        if (undecodable.count() > 0) {
            logger.warn(
                    "{} records on {} were no jobs",
                    undecodable.count(),
                    config.topics().jobs());
        }
        CompletableFuture<Void> left = new CompletableFuture<>();
        loop.tell(() -> {
            if (heartbeats != null) {
                heartbeats.sayGoodbye();
            }
            sender.sent().thenAccept(left::complete);
        });
        if (waitFor(left, timeout)) {
            logger.info("worker {} has left {}", hello.workerId(), address());
        } else {
            logger.warn("left {} without a word: not acknowledged within {} s", address(), timeout);
        }
    }

    @Override
    protected void close() {
        if (groups == null) {
            closeWhatHasNotBegun();
        } else {
            leaveGroups();
        }
        Predecessors.noteGone(hello.workerId());
    }

    private void leaveGroups() {
        double until = Loop.now() + LEAVE_GROUPS_S;
        groups.stop();
        reader.stop();
        loop.tell(sender::close);
        try {
            groups.join(until - Loop.now());
            reader.join(until - Loop.now());
        } catch (InterruptedException error) {
            interrupted();
        }
    }

    private void closeWhatHasNotBegun() {
        // Cancelled, the one that is on the way closes what it has made; else it was handed over a moment ago.
        if (!arrival.cancel(false) && !arrival.isCompletedExceptionally()) {
            arrival.join().close();
        }
    }

    // ------------------------------------------------------------ jobs

    private void accept(List<KafkaJob> taken) {
        double moment = Loop.now();
        String startedAt = Records.now();
        List<KafkaJob> accepted = new ArrayList<>();
        for (KafkaJob job : taken) {
            job.seenAt(moment);
            job.startedAt(startedAt);
            if (jobs.find(job.raw()) != null || cancelled.containsKey(job.id() + "/" + job.attempt())) {
                givePlace(job);
            } else {
                jobs.add(job);
                accepted.add(job);
            }
        }
        if (accepted.isEmpty()) {
            return;
        }
        heartbeats.accepted();
        if (accepted.get(0).isAlone()) {
            flush().thenRun(() -> execution.start(accepted));
        } else {
            execution.start(accepted);
        }
    }

    /** Returns how many more jobs could start now: none while others wait for a place, or the worker leaves. */
    private int capacity() {
        if (leaving.isDone()) {
            return 0;
        }
        int waiting = reader == null ? 0 : reader.waiting();
        return Math.max(0, slots.free() - waiting);
    }

    private void cancel(List<JsonNode> words) {
        words.forEach(word -> cancelled.put(word.get("jobId").asText() + "/" + word.get("attempt"), true));
        execution.stopJobs(jobs.findAll(words), Stop.CANCELLED);
    }

    // ------------------------------------------------------------ results

    @Override
    protected void report(List<Outcome> results) {
        for (Outcome outcome : results) {
            jobs.remove(outcome.job());
            givePlace(outcome.job());
        }
        ready.addAll(results);
    }

    @Override
    protected void drop(Job job) {
        jobs.remove(job);
        givePlace(job);
    }

    private void givePlace(Job job) {
        if (job.isAlone()) {
            slots.giveBackAll();
            stirGroups();
        } else {
            free++;
        }
        if (!isEndingTurn) {
            isEndingTurn = true;
            loop.execute(this::endTurn);
        }
    }

    /** Sends the results of this turn of the loop, unless sending rests; then gives back the places. */
    private void endTurn() {
        isEndingTurn = false;
        if (flushing == null && !ready.isEmpty()) {
            double rest = restsUntil - Loop.now();
            if (rest > 0) {
                flushing = loop.schedule(rest, this::sendReady);
            } else {
                sendReady();
            }
        }
        held += free;
        free = 0;
        letGoOfPlaces();
    }

    private void sendReady() {
        flushing = null;
        List<Outcome> outcomes = List.copyOf(ready);
        ready.clear();
        if (outcomes.size() >= MANY) {
            restsUntil = Loop.now() + REST_S;
        }
        sender.turn();
        outcomes.forEach(this::send);
    }

    private void send(Outcome outcome) {
        KafkaJob job = (KafkaJob) outcome.job();
        byte[] value = Records.writeResult(outcome, job, hello.workerId());
        unsentCount++;
        unsentBytes += value.length;
        sender.send(new Sending(config.topics().results(), job.key(), value, job, this::sent));
    }

    private void sent(Sending sending, Exception error) {
        unsentCount--;
        unsentBytes -= sending.value.length;
        if (error != null) {
            sendInstead(sending, error);
        }
        letGoOfPlaces();
    }

    /** The broker will not have this result: says so in its place, so that the attempt does not hang. */
    private void sendInstead(Sending sending, Exception error) {
        int length = sending.value.length;
        if (length <= Outcomes.STACK_BYTES_MAX) {
            logger.error("{}: its result of {} bytes was not taken: {}", sending.job, length, error.getMessage());
            return;
        }
        String message = "the result of " + length + " bytes was not taken by the broker: " + error.getMessage();
        logger.warn("{}: {}", sending.job, message);
        send(Outcomes.failed(sending.job, Failure.last(Outcomes.TOO_LARGE, message)));
    }

    private void letGoOfPlaces() {
        if (held > 0 && unsentCount < UNSENT_MAX && unsentBytes < UNSENT_BYTES_MAX) {
            slots.giveBack(held);
            held = 0;
            if (reader != null && reader.waiting() > 0) {
                stirGroups();
            }
        }
    }
}
