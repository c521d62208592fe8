package com.creedpetitt.workersdk.internal.kafka;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;

/**
 * The partitions that a group has here: how far they are passed, what of it is committed, where a new group begins. Used by
 * the thread of the groups; what says so, under the lock of the reader.
 */
final class Partitions {
    static final Duration LOOKBACK = Duration.ofHours(1);

    private static final double COMMIT_EVERY_S = 0.1;
    private static final double COMMIT_PASSED_EVERY_S = 1.0;
    private static final Duration COMMIT_MAX = Duration.ofSeconds(5);
    private static final Duration ASK = Duration.ofSeconds(10);
    private static final long IN_DOUBT = -1;

    /** Those of which no commit was confirmed since they were assigned. Under the lock. */
    final Set<TopicPartition> unsafe = new HashSet<>();

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final String topic;
    private final Reader reader;
    private final Share share;
    private final Logger logger;
    private final Map<TopicPartition, Long> committed = new HashMap<>(); // what is committed, or expected to be
    private volatile boolean hasClaimed; // since the last commit
    private double committedAt;
    private int count; // partitions of the topic; 0 while nobody has asked since the last assignment

    Partitions(KafkaConsumer<byte[], byte[]> consumer, String topic, Reader reader, Share share, Logger logger) {
        this.consumer = consumer;
        this.topic = topic;
        this.reader = reader;
        this.share = share;
        this.logger = logger;
    }

    /**
     * Tells whether the group has other members, as far as it shows: they have the partitions that are not here. With a
     * single partition nothing shows; then there may be others.
     */
    boolean hasOthers() {
        if (count == 0) {
            try {
                count = consumer.partitionsFor(topic, ASK).size();
            } catch (KafkaException error) {
                return false; // asked again the next time
            }
        }
        return committed.size() < count || count == 1;
    }

    /** Returns what is to be committed: up to the first job that was not started, everything else being passed. */
    Map<TopicPartition, Long> changes() {
        Map<TopicPartition, Long> changes = new HashMap<>();
        reader.locked(() -> {
            Map<TopicPartition, Long> first = new HashMap<>();
            share.pending.forEach(job -> first.putIfAbsent(job.place(), job.offset()));
            reader.passed(share).forEach((place, after) -> {
                Long offset = first.getOrDefault(place, after);
                if (!offset.equals(committed.get(place))) {
                    changes.put(place, offset);
                }
            });
        });
        return changes;
    }

    /** Jobs were claimed: what that changes is committed soon. Safe to call from any thread. */
    void claimed() {
        hasClaimed = true;
    }

    /** Commits without waiting, if it is time. */
    void commitIfDue(double now) {
        if (now < committedAt + (hasClaimed ? COMMIT_EVERY_S : COMMIT_PASSED_EVERY_S)) {
            return;
        }
        committedAt = now;
        hasClaimed = false;
        Map<TopicPartition, Long> changes = changes();
        if (changes.isEmpty()) {
            return;
        }
        committed.putAll(changes);
        try {
            consumer.commitAsync(write(changes), this::heard);
        } catch (KafkaException error) {
            doubt(changes);
            logger.debug("committing offsets of '{}': {}", share.action, error.getMessage());
        }
    }

    /** Commits and waits for it; false when it is not confirmed. */
    boolean commit(Map<TopicPartition, Long> changes) {
        if (changes.isEmpty()) {
            return true;
        }
        try {
            consumer.commitSync(write(changes), COMMIT_MAX);
        } catch (KafkaException error) {
            logger.debug("committing offsets of '{}': {}", share.action, error.getMessage());
            // It may have been made, so what is committed is not known. It is due again, back to the first job that was
            // not started as well: who has the partition next begins there.
            changes.keySet().forEach(place -> committed.replace(place, IN_DOUBT));
            return false;
        }
        committed.putAll(changes);
        reader.locked(() -> unsafe.removeAll(changes.keySet()));
        return true;
    }

    /** Takes the answer to a commit that nobody waited for. One that failed is made again with the next. */
    private void heard(Map<TopicPartition, OffsetAndMetadata> offsets, Exception error) {
        if (error != null) {
            Map<TopicPartition, Long> failed = new HashMap<>();
            offsets.forEach((place, offset) -> failed.put(place, offset.offset()));
            doubt(failed);
            hasClaimed = true;
        }
    }

    /** A commit did not come through: unless a later one is on its way, it is due again. */
    private void doubt(Map<TopicPartition, Long> changes) {
        changes.forEach((place, offset) -> committed.replace(place, offset, IN_DOUBT));
    }

    private static Map<TopicPartition, OffsetAndMetadata> write(Map<TopicPartition, Long> changes) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        changes.forEach((place, offset) -> offsets.put(place, new OffsetAndMetadata(offset)));
        return offsets;
    }

    /** Begins where the group was; where it never was, an hour ago, and commits that at once. */
    void takeUp(Collection<TopicPartition> places) {
        // The client joins the group and commits; what the group has is read by the reader, for all groups at once. A
        // position keeps it from asking for one.
        places.forEach(place -> consumer.seek(place, 0));
        consumer.pause(places);
        count = 0;
        if (places.isEmpty()) {
            return;
        }
        Map<TopicPartition, Long> starts = new HashMap<>();
        Set<TopicPartition> fresh = new HashSet<>();
        consumer.committed(new HashSet<>(places), ASK).forEach((place, offset) -> {
            if (offset == null) {
                fresh.add(place);
            } else {
                starts.put(place, offset.offset());
            }
        });
        if (!fresh.isEmpty()) {
            Map<TopicPartition, Long> begun = anHourAgo(consumer, fresh);
            try {
                consumer.commitSync(write(begun), ASK);
            } catch (KafkaException error) {
                // A rebalance may refuse it: the first jobs are committed before they start, so that is not the end of
                // it.
                begun.keySet().forEach(place -> committed.put(place, IN_DOUBT));
            }
            starts.putAll(begun);
        }
        starts.forEach(committed::putIfAbsent);
        reader.locked(() -> {
            unsafe.addAll(starts.keySet());
            reader.begin(share, starts);
        });
    }

    /** Has no more jobs of partitions, nor those that are pending. */
    void stop(Collection<TopicPartition> taken) {
        reader.end(share, taken);
    }

    /** Forgets partitions. */
    void letGo(Collection<TopicPartition> taken) {
        stop(taken);
        committed.keySet().removeAll(taken);
        reader.locked(() -> unsafe.removeAll(taken));
    }

    /** Returns where the records of the last hour begin. */
    static Map<TopicPartition, Long> anHourAgo(
            KafkaConsumer<byte[], byte[]> consumer, Collection<TopicPartition> places) {
        // The ends are asked for first: a job that is written between the two questions must not be passed over.
        Map<TopicPartition, Long> starts = new HashMap<>(consumer.endOffsets(places, ASK));
        long then = System.currentTimeMillis() - LOOKBACK.toMillis();
        Map<TopicPartition, Long> asked = new HashMap<>();
        places.forEach(place -> asked.put(place, then));
        Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(asked, ASK);
        found.forEach((place, first) -> {
            if (first != null) {
                starts.put(place, first.offset());
            }
        });
        return starts;
    }
}
