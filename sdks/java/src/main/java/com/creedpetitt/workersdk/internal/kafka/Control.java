package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Loop;
import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;

/**
 * The orchestrator's words to all workers, and the first look at the brokers: one consumer that joins no group. Used by one
 * thread at a time: by the one that connects, then by that of the groups.
 */
final class Control {
    private static final Duration LOOK = Duration.ofSeconds(1);
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Duration CLOSE = Duration.ofMillis(500);
    private static final int WORDS_MAX = 10_000;
    private static final double CATCH_UP_S = 5;
    private static final double LOOK_AGAIN_S = 5;

    private final KafkaConfig config;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final SortedSet<String> jobsTopics = new TreeSet<>();
    private final Logger logger;
    private final Told told;
    private final Consumer<List<JsonNode>> onCancel;
    private final BooleanSupplier isLeaving;
    private boolean isReading;
    private double lookAt;
    private int resultPartitions;

    /** {@code onCancel} is called on the thread that reads. */
    Control(
            KafkaConfig config,
            KafkaConsumer<byte[], byte[]> consumer,
            List<String> actions,
            Logger logger,
            Consumer<List<JsonNode>> onCancel,
            BooleanSupplier isLeaving) {
        this.config = config;
        this.consumer = consumer;
        this.logger = logger;
        this.told = new Told(logger);
        this.onCancel = onCancel;
        this.isLeaving = isLeaving;
        actions.forEach(action -> jobsTopics.add(config.topicOf(action)));
    }

    /** Returns how many partitions results may go to; 0 when that is not known. */
    int resultPartitions() {
        return resultPartitions;
    }

    /**
     * Asks, for a second at most, whether the brokers are there and have jobs; returns what is missing, or null.
     *
     * <p>What was said on the topic of control in the last hour has been heard then, and what follows will be.
     */
    String look() {
        try {
            for (String topic : jobsTopics) {
                if (consumer.partitionsFor(topic, LOOK).isEmpty()) {
                    return "topic " + topic + ": there is none";
                }
            }
            resultPartitions =
                    consumer.partitionsFor(config.topics().results(), LOOK).size();
            isReading = begin();
            return null;
        } catch (KafkaException error) {
            return error.getMessage();
        }
    }

    /** Hears what is said, without waiting. */
    void read(double now) {
        try {
            if (!isReading && now >= lookAt) {
                lookAt = now + LOOK_AGAIN_S;
                isReading = begin();
            }
            if (isReading) {
                hear(Duration.ZERO);
            }
        } catch (KafkaException error) {
            told.tell("reading topic " + config.topics().control(), error);
        }
    }

    /** Ends the reading. Never fails. */
    void close() {
        try {
            consumer.close(CloseOptions.timeout(CLOSE));
        } catch (KafkaException error) {
            logger.debug("closing the reader of {}: {}", config.topics().control(), error.getMessage());
        }
    }

    /** Begins an hour ago, if the topic is there, and catches up. The place is a fixed one: an outage moves it not. */
    private boolean begin() {
        String topic = config.topics().control();
        List<TopicPartition> places = new ArrayList<>();
        for (PartitionInfo info : consumer.partitionsFor(topic, LOOK)) {
            places.add(new TopicPartition(topic, info.partition()));
        }
        if (places.isEmpty()) {
            if (lookAt == 0) {
                logger.info("topic {}: there is none; runs that are cancelled will not be heard of", topic);
                lookAt = Loop.now() + LOOK_AGAIN_S;
            }
            return false;
        }
        Map<TopicPartition, Long> ends = consumer.endOffsets(places, LOOK);
        Map<TopicPartition, Long> starts = new HashMap<>(Partitions.anHourAgo(consumer, places));
        starts.replaceAll((place, start) -> Math.max(start, ends.get(place) - WORDS_MAX));
        consumer.assign(places);
        starts.forEach(consumer::seek);
        catchUp(ends);
        return true;
    }

    /** Reads what was said before now; after some seconds the rest is left for later. */
    private void catchUp(Map<TopicPartition, Long> ends) {
        double until = Loop.now() + CATCH_UP_S;
        Map<TopicPartition, Long> behind = new HashMap<>(ends);
        behind.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
        while (!behind.isEmpty() && Loop.now() < until && !isLeaving.getAsBoolean()) {
            hear(POLL);
            behind.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
        }
    }

    private void hear(Duration wait) {
        List<JsonNode> words = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(wait)) {
            JsonNode word = Records.readControl(record.value());
            if (word != null) {
                words.add(word);
            }
        }
        if (!words.isEmpty()) {
            onCancel.accept(words);
        }
    }
}
