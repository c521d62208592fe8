package com.creedpetitt.workersdk.internal.kafka;

import java.util.List;
import java.util.function.BiConsumer;
import org.apache.kafka.common.header.Header;

/** One record on its way. */
final class Sending {
    final String topic;
    final byte[] key;
    final byte[] value;
    /** The job that it is the result of; null for a heartbeat. */
    final KafkaJob job;
    /** Gets null when it has arrived, or the error for which it is given up. On the loop. */
    final BiConsumer<Sending, Exception> onEnd;

    Sending(String topic, byte[] key, byte[] value, KafkaJob job, BiConsumer<Sending, Exception> onEnd) {
        this.topic = topic;
        this.key = key;
        this.value = value;
        this.job = job;
        this.onEnd = onEnd;
    }

    List<Header> headers() {
        return job == null ? List.of() : job.resultHeaders();
    }
}
