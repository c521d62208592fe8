package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Loop;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.OutOfOrderSequenceException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.slf4j.Logger;

/**
 * Sending records: results that must arrive, and heartbeats. On the loop.
 *
 * <p>Rule 1: a record is kept until the brokers have acknowledged it, and sent again when they have not.
 *
 * <p>Rule 2: acknowledgements are collected on the loop, many at once.
 *
 * <p>Rule 3: a record that is too large by itself is given up. Batches that are too large are split by the client.
 */
final class Sender {
    private static final double RETRY_S = 0.05; // the first record of a topic has to wait until the client knows of it
    private static final double RETRY_S_MAX = 0.5; // in an outage everything that waits is tried again each time
    private static final int CLOSE_MS = 100;

    private record Ended(Sending sending, Exception error, int generation) {}

    private final KafkaConfig config;
    private final String clientId;
    private final Loop loop;
    private final Logger logger;
    private final Told told;
    private final Set<Sending> onWay = new LinkedHashSet<>();
    private final Deque<Sending> waiting = new ArrayDeque<>();
    private final ConcurrentLinkedQueue<Ended> ended = new ConcurrentLinkedQueue<>();
    private final AtomicBoolean isNotified = new AtomicBoolean();
    private final ResultPartitions partitions = new ResultPartitions();
    private KafkaProducer<byte[], byte[]> producer;
    private int generation;
    private Future<?> retry;
    private double pause = RETRY_S;
    private CompletableFuture<Void> atRest;
    private String lastError = "no answer";

    Sender(KafkaConfig config, String clientId, KafkaProducer<byte[], byte[]> producer, Loop loop, Logger logger) {
        this.config = config;
        this.clientId = clientId;
        this.producer = producer;
        this.loop = loop;
        this.logger = logger;
        this.told = new Told(logger);
    }

    /** Returns how many records are not acknowledged. */
    int size() {
        return onWay.size() + waiting.size();
    }

    /** Returns why the last record that did not arrive did not. */
    String lastError() {
        return lastError;
    }

    /** Sends results to so many partitions; 0 leaves the choice to the client, by their keys. */
    void share(int count) {
        partitions.share(count);
    }

    /** Lets the client learn of a topic that has no record yet, so that the first one need not wait for that. */
    void expect(String topic) {
        try {
            producer.partitionsFor(topic);
        } catch (KafkaException error) {
            logger.debug("{} is looked for: {}", topic, error.getMessage());
        }
    }

    /** What is sent from now on goes to the next partition, unless its job names one. */
    void turn() {
        partitions.turn();
    }

    /** Sends a record. It is acknowledged, or given up, later: never within this call. */
    void send(Sending sending) {
        onWay.add(sending);
        Integer chosen = sending.job == null ? null : partitions.of(sending.job);
        int now = generation;
        try {
            producer.send(
                    new ProducerRecord<>(sending.topic, chosen, sending.key, sending.value, sending.headers()),
                    (place, error) -> end(new Ended(sending, error, now)));
        } catch (KafkaException | IllegalStateException error) {
            end(new Ended(sending, error, now));
        }
    }

    /** Returns the jobs whose results are not acknowledged. */
    List<KafkaJob> jobs() {
        List<KafkaJob> jobs = new ArrayList<>();
        onWay.stream().filter(one -> one.job != null).forEach(one -> jobs.add(one.job));
        waiting.stream().filter(one -> one.job != null).forEach(one -> jobs.add(one.job));
        return jobs;
    }

    /** Returns what is done when every record has arrived or was given up. */
    CompletableFuture<Void> sent() {
        atRest = new CompletableFuture<>();
        tellIfAtRest();
        return atRest;
    }

    /** Ends it. What has not been acknowledged may be lost. */
    void close() {
        close(producer);
    }

    private void close(KafkaProducer<byte[], byte[]> old) {
        try {
            old.close(Duration.ofMillis(CLOSE_MS));
        } catch (KafkaException error) {
            logger.debug("closing the producer: {}", error.getMessage());
        }
    }

    /** Takes the report of a delivery, on whatever thread it comes. */
    private void end(Ended report) {
        ended.add(report);
        if (isNotified.compareAndSet(false, true)) {
            loop.execute(this::collect);
        }
    }

    private void collect() {
        // The flag falls before the look: a report laid down after the look raises it again.
        isNotified.set(false);
        boolean isFatal = false;
        for (Ended one = ended.poll(); one != null; one = ended.poll()) {
            if (onWay.remove(one.sending)) {
                isFatal |= one.error != null && one.generation == generation && isFatal(one.error);
                finish(one.sending, one.error);
            }
        }
        if (isFatal) {
            openAgain();
        }
        tellIfAtRest();
    }

    private void finish(Sending sending, Exception error) {
        if (error == null || error instanceof RecordTooLargeException) {
            pause = RETRY_S;
            sending.onEnd.accept(sending, error);
            return;
        }
        lastError = String.valueOf(error.getMessage());
        if (error instanceof TimeoutException && lastError.startsWith("Partition ")) {
            share(0); // the topic was made anew, with fewer partitions
        }
        if (error instanceof TimeoutException) {
            logger.debug("sending to {} again: {}", sending.topic, lastError);
        } else {
            told.tell("sending to " + sending.topic + " again", error);
        }
        waiting.add(sending);
        if (retry == null) {
            retry = loop.schedule(pause, this::sendWaiting);
            pause = Math.min(RETRY_S_MAX, pause * 2);
        }
    }

    private void sendWaiting() {
        retry = null;
        for (int left = waiting.size(); left > 0; left--) {
            send(waiting.poll());
        }
    }

    private void tellIfAtRest() {
        if (atRest != null && size() == 0) {
            atRest.complete(null);
        }
    }

    private static boolean isFatal(Exception error) {
        return error instanceof ProducerFencedException
                || error instanceof OutOfOrderSequenceException
                || error instanceof InvalidProducerEpochException
                || error instanceof IllegalStateException
                || error.getClass() == KafkaException.class;
    }

    /** The producer has given up for good: another one sends everything that is not acknowledged. */
    private void openAgain() {
        try {
            KafkaProducer<byte[], byte[]> next = Clients.producer(config.producer(clientId));
            logger.debug("the producer is opened anew");
            close(producer);
            producer = next;
            generation++;
        } catch (Clients.NoSuchHostException error) {
            lastError = error.getMessage(); // tried again with the next record that fails
        }
    }
}
