package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.internal.work.Loop;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** An action's group of a worker on a real broker, whose commits of jobs are made while it never hears so. */
public final class UnheardGroup implements AutoCloseable {
    private final List<KafkaJob> started = new ArrayList<>();
    private final Reader reader;
    private final ActionGroup group;

    public UnheardGroup(String action, String servers, Map<String, String> environment) {
        Lines lines = new Lines();
        KafkaConfig config = KafkaConfig.read(servers, Map.of(), Map.of(), false, environment);
        reader = new Reader(
                new KafkaConsumer<>(
                        config.consumer("unheard", null), new ByteArrayDeserializer(), new ByteArrayDeserializer()),
                KafkaConfig.LEASE_S_DEFAULT,
                new Undecodable(lines),
                lines,
                error -> {});
        group = new ActionGroup(
                action,
                config,
                new Unheard(config.consumer("unheard", config.groupOf(action))),
                reader,
                new Slots(1),
                lines,
                started::addAll,
                () -> {});
        group.subscribe();
        reader.start();
    }

    /** Does what the thread of the groups does. */
    public void step() {
        group.step(Loop.now());
    }

    /** Returns how many jobs it has started. */
    public int started() {
        return started.size();
    }

    /** Leaves. */
    @Override
    public void close() {
        group.stop();
        group.leave();
        reader.stop();
    }

    private static final class Unheard extends KafkaConsumer<byte[], byte[]> {
        private boolean hasBegun;

        Unheard(Map<String, Object> config) {
            super(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        @Override
        public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets, Duration timeout) {
            super.commitSync(offsets, timeout);
            if (hasBegun) {
                throw new TimeoutException("unheard");
            }
            hasBegun = true; // where it begins is committed, and heard
        }
    }
}
