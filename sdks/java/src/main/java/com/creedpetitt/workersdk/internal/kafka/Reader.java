package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Loop;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;

/**
 * Reading the jobs of all actions, on one thread: the groups share out the partitions, one fetch brings what they have.
 *
 * <p>A fetch costs the broker as much as a hundred records do, and one for each action would bring every record to each.
 *
 * <p>Rule 1: what is read are the partitions that any group of this worker has; a job is given to the share of its action,
 * and only where that action's group has the partition.
 *
 * <p>Rule 2: each group begins at an offset of its own. Reading goes back to the one that is furthest behind; what lies
 * below the floor of a share it has had, or somebody else has.
 *
 * <p>Rule 3: so many jobs, and bytes of them, may wait for a place; then nothing is read, and the client fetches no more
 * than its buffer holds.
 *
 * <p>Rule 4: shares are changed by the thread of the groups, under the lock of the reader. Whatever was fetched before
 * reading had to begin elsewhere is thrown away: it comes again.
 *
 * <p>The lock is never held while something is waited for.
 */
final class Reader {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Duration CLOSE = Duration.ofSeconds(1);
    private static final int WAITING_MAX = 250;
    private static final long WAITING_BYTES_MAX = 4 * 1024 * 1024;

    final ReentrantLock lock = new ReentrantLock();

    private final Condition room = lock.newCondition();
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final double lease;
    private final Undecodable undecodable;
    private final Logger logger;
    private final Told told;
    private final Consumer<Throwable> onFailure;
    private final Thread thread = new Thread(this::run, "workersdk-jobs");
    private final Map<String, Share> shares = new HashMap<>();
    private final Map<TopicPartition, Long> positions = new HashMap<>(); // the next record of each that is read
    private boolean mustMove; // the partitions or positions are not the client's any more
    private boolean isAtRest;
    private double startedAt = Loop.now();
    private volatile boolean isStopping;

    Reader(
            KafkaConsumer<byte[], byte[]> consumer,
            double lease,
            Undecodable undecodable,
            Logger logger,
            Consumer<Throwable> onFailure) {
        this.consumer = consumer;
        this.lease = lease;
        this.undecodable = undecodable;
        this.logger = logger;
        this.told = new Told(logger);
        this.onFailure = onFailure;
        thread.setDaemon(true);
    }

    void start() {
        thread.start();
    }

    /** Reads no more. Returns at once; safe to call from any thread. */
    void stop() {
        isStopping = true;
        consumer.wakeup();
        locked(room::signalAll);
    }

    /** Waits until nothing is read any more, so many seconds at most. */
    void join(double seconds) throws InterruptedException {
        thread.join((long) (Math.max(0.001, seconds) * 1000));
    }

    void locked(Runnable action) {
        lock.lock();
        try {
            action.run();
        } finally {
            lock.unlock();
        }
    }

    // ------------------------------------------------------------ the shares

    void add(Share share) {
        locked(() -> shares.put(share.action, share));
    }

    /** Gives a share the jobs of these partitions, from these offsets on. */
    void begin(Share share, Map<TopicPartition, Long> starts) {
        locked(() -> {
            share.floors.putAll(starts);
            starts.forEach((place, start) -> {
                Long position = positions.get(place);
                if (position == null) {
                    move(place, start);
                } else if (start < position) {
                    for (Share other : shares.values()) {
                        if (other != share) {
                            other.floors.computeIfPresent(place, (key, floor) -> Math.max(floor, position));
                        }
                    }
                    move(place, start);
                }
            });
            room.signalAll();
        });
    }

    /** Takes partitions away from a share, with the jobs of them that are pending. */
    void end(Share share, Collection<TopicPartition> gone) {
        locked(() -> {
            for (TopicPartition place : gone) {
                if (share.floors.remove(place) == null) {
                    continue;
                }
                boolean isOthers = shares.values().stream().anyMatch(other -> other.floors.containsKey(place));
                if (!isOthers && positions.remove(place) != null) {
                    mustMove = true;
                }
            }
            share.pending.removeIf(job -> gone.contains(job.place()));
            madeRoom();
        });
    }

    /** Returns the offset after the last record that was read, of each partition of a share. Under the lock. */
    Map<TopicPartition, Long> passed(Share share) {
        Map<TopicPartition, Long> passed = new HashMap<>();
        share.floors.forEach(
                (place, floor) -> passed.put(place, Math.max(floor, positions.getOrDefault(place, floor))));
        return passed;
    }

    /** Returns how many jobs wait for a place. */
    int waiting() {
        lock.lock();
        try {
            return shares.values().stream()
                    .mapToInt(share -> share.pending.size())
                    .sum();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Returns since when so many jobs wait that nothing is read, and none of this worker's was started; 0 when not so. A
     * worker that is busy and goes on is not stuck, however many wait.
     */
    double fullSince() {
        lock.lock();
        try {
            return isFull() ? startedAt : 0;
        } finally {
            lock.unlock();
        }
    }

    /** Jobs wait no more: they were started, or are others' now. Under the lock. */
    void madeRoom() {
        startedAt = Loop.now();
        room.signalAll();
    }

    /** So many jobs wait that nothing is read: nobody knows what is behind them. */
    private boolean isFull() {
        int jobs = 0;
        long bytes = 0;
        for (Share share : shares.values()) {
            for (KafkaJob job : share.pending) {
                jobs++;
                bytes += job.size();
            }
        }
        return jobs >= WAITING_MAX || bytes >= WAITING_BYTES_MAX;
    }

    private void move(TopicPartition place, long offset) {
        positions.put(place, offset);
        mustMove = true;
    }

    // ------------------------------------------------------------ on the thread

    private void run() {
        try {
            while (!isStopping) {
                step();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } catch (Throwable error) {
            onFailure.accept(error);
        }
        try {
            consumer.close(CloseOptions.timeout(CLOSE));
        } catch (KafkaException error) {
            logger.debug("closing the reader of jobs: {}", error.getMessage());
        }
    }

    private void step() throws InterruptedException {
        if (!canRead()) {
            return;
        }
        try {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
            if (!records.isEmpty()) {
                locked(() -> give(records));
            }
        } catch (KafkaException error) {
            if (!isStopping) {
                told.tell("reading jobs", error);
                waitForRoom();
            }
        }
    }

    /** Tells whether to read; waits a moment when not. */
    private boolean canRead() throws InterruptedException {
        lock.lock();
        try {
            if (mustMove) {
                mustMove = false;
                consumer.assign(positions.keySet());
                positions.forEach(consumer::seek);
            }
            boolean isFull = isFull();
            if (isFull && !isAtRest) {
                logger.debug("no place for the jobs that wait: fetching no more");
            }
            isAtRest = isFull;
            if (isFull || positions.isEmpty()) {
                room.await(POLL.toMillis(), TimeUnit.MILLISECONDS);
                return false;
            }
            return true;
        } finally {
            lock.unlock();
        }
    }

    private void waitForRoom() throws InterruptedException {
        lock.lock();
        try {
            room.await(POLL.toMillis(), TimeUnit.MILLISECONDS);
        } finally {
            lock.unlock();
        }
    }

    /** Puts the jobs where they belong, and passes over everything else. */
    private void give(ConsumerRecords<byte[], byte[]> records) {
        if (mustMove) {
            return;
        }
        Set<Share> arrived = new LinkedHashSet<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            Share share = put(record);
            if (share != null) {
                arrived.add(share);
            }
        }
        arrived.forEach(share -> share.onArrival.run());
    }

    private Share put(ConsumerRecord<byte[], byte[]> record) {
        TopicPartition place = new TopicPartition(record.topic(), record.partition());
        Long position = positions.get(place);
        if (position == null) {
            return null;
        }
        if (record.offset() < position) {
            // The topic was made anew: its offsets begin again, and nobody has had any of it.
            shares.values().forEach(share -> share.floors.computeIfPresent(place, (key, floor) -> 0L));
        }
        positions.put(place, record.offset() + 1);
        try {
            Share share = shares.get(Records.actionOf(record));
            if (share == null || record.offset() < share.floors.getOrDefault(place, Long.MAX_VALUE)) {
                return null; // most records, where there are many workers: nothing more is spent on them
            }
            share.pending.add(Records.readJob(share.action, record, place, lease));
            return share;
        } catch (UndecodableException fault) {
            undecodable.add(record, fault.getMessage());
            return null;
        }
    }
}
