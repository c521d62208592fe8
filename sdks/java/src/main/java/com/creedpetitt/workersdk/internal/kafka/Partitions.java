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

/**
 * The partitions that a group has here: how far they are passed, what of it is committed, where a new group begins. Used by
 * the thread of the groups; what says so, under the lock of the reader.
 */
final class Partitions {
    static final Duration LOOKBACK = Duration.ofHours(1);

    private static final Duration ASK = Duration.ofSeconds(10);
    private static final long IN_DOUBT = -1;

    /** Those of which no commit was confirmed since they were assigned. Under the lock. */
    final Set<TopicPartition> unsafe = new HashSet<>();

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final String topic;
    private final Reader reader;
    private final Share share;
    private final Map<TopicPartition, Long> committed = new HashMap<>(); // what is committed, or expected to be
    private int count; // partitions of the topic; 0 while nobody has asked since the last assignment

    Partitions(KafkaConsumer<byte[], byte[]> consumer, String topic, Reader reader, Share share) {
        this.consumer = consumer;
        this.topic = topic;
        this.reader = reader;
        this.share = share;
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

    static Map<TopicPartition, OffsetAndMetadata> write(Map<TopicPartition, Long> changes) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        changes.forEach((place, offset) -> offsets.put(place, new OffsetAndMetadata(offset)));
        return offsets;
    }

    /** A commit is on its way that nobody waits for. */
    void expect(Map<TopicPartition, Long> changes) {
        committed.putAll(changes);
    }

    void confirm(Map<TopicPartition, Long> changes) {
        committed.putAll(changes);
        reader.locked(() -> unsafe.removeAll(changes.keySet()));
    }

    /** A commit did not come through: unless a later one is on its way, it is due again. */
    void doubt(Map<TopicPartition, Long> changes) {
        changes.forEach((place, offset) -> committed.replace(place, offset, IN_DOUBT));
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
