package com.creedpetitt.workersdk.internal.kafka;

import java.util.concurrent.ThreadLocalRandom;

/**
 * Which partition a result goes to. On the loop.
 *
 * <p>Rule 1: the one that its job names: there reads the process that knows its run.
 *
 * <p>Rule 2: the others that are sent together go to one partition, those after them to the next: each partition takes a
 * request of its own, and that costs the broker as much as a hundred records do. Nothing depends on a result's partition
 * but time.
 */
final class ResultPartitions {
    private int count;
    private int turn;

    /** Takes how many there are; 0, as at first, leaves the choice to the client, by the keys. */
    void share(int partitions) {
        count = partitions;
        turn = count > 0 ? ThreadLocalRandom.current().nextInt(count) : 0;
    }

    /** What is sent from now on goes to the next one. */
    void turn() {
        if (count > 0) {
            turn = (turn + 1) % count;
        }
    }

    /** Returns where the result of a job goes; null for wherever the client likes. */
    Integer of(KafkaJob job) {
        int named = job.resultPartition();
        if (named >= 0 && named < count) {
            return named;
        }
        return count > 0 ? turn : null;
    }
}
