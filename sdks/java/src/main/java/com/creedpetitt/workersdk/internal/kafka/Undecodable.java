package com.creedpetitt.workersdk.internal.kafka;

import java.util.HashSet;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.slf4j.Logger;

/** Records on the topic of jobs that are no jobs: passed over, counted once each, and told once. */
final class Undecodable {
    private static final int REMEMBERED_MAX = 10_000;

    private final Logger logger;
    private final Set<String> seen = new HashSet<>();
    private int count;

    Undecodable(Logger logger) {
        this.logger = logger;
    }

    synchronized int count() {
        return count;
    }

    /** Notes a record and why it is no job. */
    synchronized void add(ConsumerRecord<?, ?> record, String fault) {
        if (!seen.add(record.topic() + ":" + record.partition() + ":" + record.offset())) {
            return; // reading has gone back
        }
        if (seen.size() > REMEMBERED_MAX) {
            seen.clear(); // a count that is too high by some is better than a memory that grows
        }
        count++;
        String text =
                "{} partition {} offset {} is not a job and is passed over: {} (further ones are counted, not told)";
        if (count == 1) {
            logger.warn(text, record.topic(), record.partition(), record.offset(), fault);
        } else {
            logger.debug(text, record.topic(), record.partition(), record.offset(), fault);
        }
    }
}
