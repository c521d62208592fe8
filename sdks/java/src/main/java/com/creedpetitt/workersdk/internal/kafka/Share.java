package com.creedpetitt.workersdk.internal.kafka;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;

/** What one action gets. Everything of it is used under the lock of the reader. */
final class Share {
    final String action;
    final Deque<KafkaJob> pending = new ArrayDeque<>();
    /** The partitions of the group, and where it began. */
    final Map<TopicPartition, Long> floors = new HashMap<>();
    /** Called under the lock. */
    final Runnable onArrival;

    Share(String action, Runnable onArrival) {
        this.action = action;
        this.onArrival = onArrival;
    }
}
