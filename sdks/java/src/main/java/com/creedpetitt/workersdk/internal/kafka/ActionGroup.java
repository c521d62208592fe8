package com.creedpetitt.workersdk.internal.kafka;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;

/**
 * Taking the jobs of one action: one consumer group for each, joined and served on the thread of all groups.
 *
 * <p>Rule 1: an offset is committed ahead of execution. A job that kills its process is not delivered again by Kafka; the
 * orchestrator misses it in the heartbeats and decides.
 *
 * <p>Rule 2: from an assignment to the first confirmed commit, a partition's jobs start only after their commit is
 * confirmed, which is waited for here. After that they start as soon as they are read, on the thread of the reader, and
 * what they have claimed is committed ten times a second without waiting.
 *
 * <p>Rule 3: what is committed is the first offset that has not been started; records of other actions count as passed.
 *
 * <p>Rule 4: a worker without a free place lets jobs wait, up to a number, and serves its groups. After two seconds it
 * gives its partitions to the others of the group, if there are any.
 *
 * <p>Rule 5: the client of the group is touched by the thread of the groups only, and no job of a partition is started
 * once it was told that the partition is taken away: both happen under the lock of the reader.
 */
final class ActionGroup implements ConsumerRebalanceListener {
    private static final double SERVE_EVERY_S = 0.1;
    private static final double SERVE_JOINING_EVERY_S = 0.01;
    private static final double SHED_AFTER_S = 2.0;
    private static final double SHED_AFTER_S_MAX = 32.0;
    private static final double SHED_IS_SHORT_S = 30.0;
    private static final double RETRY_S = 0.5;
    private static final double CLAIM_AGAIN_S = 0.1;
    private static final Duration CLOSE = Duration.ofSeconds(2);

    private final String action;
    private final String topic;
    private final boolean isStrict;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Reader reader;
    private final Slots slots;
    private final Logger logger;
    private final Told told;
    private final Consumer<List<KafkaJob>> handOver;
    private final Runnable stir;
    private final Share share;
    private final Partitions partitions;
    private boolean isStopping; // under the lock of the reader
    private boolean isClaiming; // jobs wait for their commit; under the lock of the reader
    private boolean isJoined;
    private boolean isAway;
    private boolean returnsWhenIdle;
    private boolean mustRejoin;
    private double subscribeAt; // 0 when it is subscribed
    private double serveAt;
    private double claimAt;
    private double awaySince;
    private volatile double fullSince; // 0 when it is not, or jobs were started since
    private double shedAfter = SHED_AFTER_S;

    /** {@code handOver} takes jobs whose places are taken and whose offsets are safe; {@code stir} wakes the thread. */
    ActionGroup(
            String action,
            KafkaConfig config,
            KafkaConsumer<byte[], byte[]> consumer,
            Reader reader,
            Slots slots,
            Logger logger,
            Consumer<List<KafkaJob>> handOver,
            Runnable stir) {
        this.action = action;
        this.topic = config.topicOf(action);
        this.isStrict = config.isStrict();
        this.consumer = consumer;
        this.reader = reader;
        this.slots = slots;
        this.logger = logger;
        this.told = new Told(logger);
        this.handOver = handOver;
        this.stir = stir;
        this.share = new Share(action, this::arrived);
        this.partitions = new Partitions(consumer, topic, reader, share, logger);
        reader.add(share);
    }

    // ------------------------------------------------------------ on the thread of the groups

    void subscribe() {
        subscribeAt = 0;
        isJoined = false;
        consumer.subscribe(List.of(topic), this);
    }

    /** Does what is to be done; returns the seconds until it wants to be asked again. */
    double step(double now) {
        if (subscribeAt > 0) {
            if (now < subscribeAt) {
                return subscribeAt - now;
            }
            subscribe();
        }
        if (isAway) {
            return waitToReturn(now);
        }
        if (now >= serveAt) {
            serve(now);
        }
        partitions.commitIfDue(now);
        if (mustRejoin) {
            rejoin(now);
        } else if (hasPending() && now >= claimAt && claim(now)) {
            fullSince = 0;
            return hasPending() ? 0 : serveAt - now;
        } else if (slots.wouldGive(this)) {
            fullSince = 0;
        } else {
            hold(now);
        }
        return Math.max(0, serveAt - now);
    }

    /** From now on nothing is handed over. Safe to call from any thread. */
    void stop() {
        reader.locked(() -> isStopping = true);
    }

    /** Commits and leaves the group. Never fails. */
    void leave() {
        try {
            partitions.commit(partitions.changes());
            consumer.close(CloseOptions.timeout(CLOSE));
        } catch (KafkaException error) {
            logger.debug("leaving the group of '{}': {}", action, error.getMessage());
        }
    }

    private boolean hasPending() {
        reader.lock.lock();
        try {
            return !share.pending.isEmpty();
        } finally {
            reader.lock.unlock();
        }
    }

    /** Serves the group, which is when partitions are given and taken away. */
    private void serve(double now) {
        try {
            consumer.poll(Duration.ZERO);
        } catch (KafkaException error) {
            told.tell("reading the jobs of '" + action + "' from " + topic, error);
        }
        serveAt = now + (isJoined ? SERVE_EVERY_S : SERVE_JOINING_EVERY_S);
    }

    // ------------------------------------------------------------ claiming

    /** Starts jobs that have just been read, on the thread of the reader and under its lock. */
    private void arrived() {
        if (isStopping) {
            return;
        }
        // Never past jobs that wait for their commit: those may become pending again, and what is committed goes back
        // to them.
        if (!isClaiming && unsafeOf(share.pending).isEmpty()) {
            start(take());
        }
        if (!share.pending.isEmpty()) {
            stir.run();
        }
    }

    /** Hands over the pending jobs that there are places for; false when there is none. */
    private boolean claim(double now) {
        List<KafkaJob> jobs = new ArrayList<>();
        Map<TopicPartition, Long> changes = new HashMap<>();
        boolean isAlone;
        reader.lock.lock();
        try {
            if (share.pending.isEmpty()) {
                return false;
            }
            isAlone = share.pending.peek().isAlone();
            if (isAlone) {
                if (!slots.takeAll(this)) {
                    return false;
                }
                jobs.add(share.pending.poll());
            } else {
                jobs.addAll(take());
            }
            Set<TopicPartition> unsafe = isAlone ? Set.of(jobs.get(0).place()) : unsafeOf(jobs);
            if (!unsafe.isEmpty()) {
                changes.putAll(partitions.changes());
                changes.keySet().retainAll(unsafe);
            }
            isClaiming = true;
        } finally {
            reader.lock.unlock();
        }
        if (commitAndStart(jobs, changes, now)) {
            return !jobs.isEmpty();
        }
        if (isAlone) {
            slots.giveBackAll();
        } else {
            slots.giveBack(jobs.size());
        }
        return false;
    }

    /** Returns the partitions whose commit has to be waited for before these jobs start. Under the lock. */
    private Set<TopicPartition> unsafeOf(Collection<KafkaJob> jobs) {
        Set<TopicPartition> places = new HashSet<>();
        if (isStrict || !partitions.unsafe.isEmpty()) {
            for (KafkaJob job : jobs) {
                if (isStrict || partitions.unsafe.contains(job.place())) {
                    places.add(job.place());
                }
            }
        }
        return places;
    }

    /** Takes the jobs at the head that there are places for; their places are taken with them. Under the lock. */
    private List<KafkaJob> take() {
        List<KafkaJob> jobs = new ArrayList<>();
        int places = share.pending.isEmpty() ? 0 : slots.take(share.pending.size());
        while (jobs.size() < places
                && !share.pending.isEmpty()
                && !share.pending.peek().isAlone()) {
            jobs.add(share.pending.poll());
        }
        if (jobs.size() < places) {
            slots.giveBack(places - jobs.size());
        }
        return jobs;
    }

    /** Under the lock. */
    private void start(List<KafkaJob> jobs) {
        if (!jobs.isEmpty()) {
            fullSince = 0; // on the thread of the reader: a worker that goes on is not stuck
            partitions.claimed();
            handOver.accept(jobs);
            reader.madeRoom();
        }
    }

    /**
     * Commits that these jobs are started, and starts them; when that is not confirmed, or the worker was told to leave
     * meanwhile, they are pending again and not started.
     *
     * <p>Still pending means still this worker's: nobody else can get them before the partition is taken away, and then
     * they are dropped here. Trying again is therefore no second execution.
     */
    private boolean commitAndStart(List<KafkaJob> jobs, Map<TopicPartition, Long> changes, double now) {
        boolean isCommitted = partitions.commit(changes);
        reader.lock.lock();
        try {
            isClaiming = false;
            if (isCommitted && !isStopping) {
                start(jobs);
                return true;
            }
            for (int place = jobs.size() - 1; place >= 0; place--) {
                share.pending.addFirst(jobs.get(place));
            }
        } finally {
            reader.lock.unlock();
        }
        slots.withdraw(this);
        serveAt = now; // a rebalance that is the cause is served
        claimAt = now + CLAIM_AGAIN_S;
        return false;
    }

    // ------------------------------------------------------------ no place

    /** There is no place: leaves the group when that lasts. */
    private void hold(double now) {
        if (fullSince == 0) {
            fullSince = now;
        }
        // Only a record that waits shows that others could do something. Where so many wait that none is read any more,
        // and none is started, nobody knows what is behind them.
        double since = hasPending() ? fullSince : reader.fullSince();
        if (since > 0 && now >= since + shedAfter && partitions.hasOthers()) {
            giveAway(now);
        }
    }

    /** Leaves the group, so that others get the jobs that wait here. */
    private void giveAway(double now) {
        logger.debug("no place for the jobs of '{}' for {} s: leaving them to others", action, shedAfter);
        reader.locked(() -> returnsWhenIdle =
                !share.pending.isEmpty() && share.pending.peek().isAlone());
        unsubscribe(); // what was claimed is committed when the partitions are taken away
        isAway = true;
        awaySince = now;
    }

    private void unsubscribe() {
        try {
            consumer.unsubscribe();
        } catch (KafkaException error) {
            logger.debug("leaving the group of '{}': {}", action, error.getMessage());
        }
    }

    private double waitToReturn(double now) {
        boolean isTime = returnsWhenIdle ? slots.isIdle() : slots.wouldGive(this);
        if (!isTime) {
            return SERVE_EVERY_S;
        }
        // A worker that is full again in a moment would make the whole group rebalance over and over.
        boolean wasShort = now - awaySince < SHED_IS_SHORT_S;
        shedAfter = wasShort ? Math.min(SHED_AFTER_S_MAX, shedAfter * 2) : SHED_AFTER_S;
        fullSince = 0;
        isAway = false;
        subscribe();
        return 0;
    }

    // ------------------------------------------------------------ the group

    /** The assignment could not be taken up, since the broker did not say where to begin: asks for it again. */
    private void rejoin(double now) {
        mustRejoin = false;
        unsubscribe();
        subscribeAt = now + RETRY_S;
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> places) {
        isJoined = true;
        try {
            partitions.takeUp(places);
        } catch (KafkaException error) {
            told.tell("the group of '" + action + "': where to begin is not known; trying again", error);
            mustRejoin = true;
        }
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> places) {
        isJoined = false;
        Set<TopicPartition> taken = new HashSet<>(places);
        Map<TopicPartition, Long> changes = new HashMap<>();
        // First nothing more of them is started, then what was is committed.
        reader.locked(() -> {
            changes.putAll(partitions.changes());
            partitions.stop(taken);
        });
        changes.keySet().retainAll(taken);
        partitions.commit(changes);
        letGo(taken);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> places) {
        isJoined = false;
        letGo(new HashSet<>(places));
    }

    /** Forgets the jobs that were not started: the next owner has them. */
    private void letGo(Set<TopicPartition> taken) {
        partitions.letGo(taken);
        slots.withdraw(this);
    }
}
