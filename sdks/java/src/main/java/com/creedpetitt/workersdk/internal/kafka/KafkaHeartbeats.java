package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.JobsInHand;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.creedpetitt.workersdk.internal.work.Stop;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.IntSupplier;

/**
 * Signs of life over Kafka, and the worker's own fence when nobody acknowledges them. On the loop.
 *
 * <p>Rule 1: a heartbeat names every job in hand, and every job whose result is not acknowledged.
 *
 * <p>Rule 2: a short job costs no heartbeat. One that has run for a second is named soon after, and so is what its handler
 * says; both make at most one heartbeat more a second. That no other job could start is said soon after it has been so for
 * a second, and that one could again with the next heartbeat.
 *
 * <p>Rule 3: idle or busy, a worker says every ten seconds at the latest that it is there.
 *
 * <p>Rule 4: one heartbeat is on its way at a time. When it took long, the next one follows at once.
 */
final class KafkaHeartbeats {
    private static final int BEATS_PER_TIMEOUT = 3;
    private static final double PRESENCE_S = 10.0;
    private static final double NAMED_AFTER_S = 1.0;
    private static final double TICK_S = 1.0;
    private static final double TICK_S_MIN = 0.01;
    private static final double OLD_S = 2.0;
    private static final double LOST_AFTER_S = 3.0;
    private static final int DETAILS_BYTES_AT_ONCE = 512 * 1024;

    private final byte[] key;
    private final String topic;
    private final BeatWriter writer;
    private final double lease;
    private final Loop loop;
    private final Sender sender;
    private final JobsInHand jobs;
    private final Execution execution;
    private final IntSupplier capacity;
    private final Outage outage;
    private boolean isIdle = true;
    private Sending onWay;
    private boolean hasLeft;
    private double last;
    private double due;
    private double fullSince; // as far as was looked; 0 when it is not
    private boolean isFullTold;
    private Future<?> timer;

    /** {@code group} is the name of the fleet, or null; {@code lease} in seconds; {@code capacity}, what could start now. */
    KafkaHeartbeats(
            Hello hello,
            String group,
            String topic,
            double lease,
            Loop loop,
            Sender sender,
            JobsInHand jobs,
            Execution execution,
            IntSupplier capacity,
            Outage outage) {
        this.key = hello.workerId().getBytes(StandardCharsets.UTF_8);
        this.topic = topic;
        this.writer = new BeatWriter(hello, group, lease, PRESENCE_S);
        this.lease = lease;
        this.loop = loop;
        this.sender = sender;
        this.jobs = jobs;
        this.execution = execution;
        this.capacity = capacity;
        this.outage = outage;
    }

    void begin() {
        beat();
        plan();
    }

    /** Notes new jobs: an idle worker looks after them from now on. */
    void accepted() {
        if (isIdle) {
            plan();
        }
    }

    /** Sends the last heartbeat. */
    void sayGoodbye() {
        hasLeft = true;
        send(List.of(), Map.of(), true);
    }

    /** Beats now, unless the last one is not acknowledged yet or was the goodbye. */
    private void beat() {
        if (onWay == null && !hasLeft) {
            List<KafkaJob> named = named();
            send(named, newsOf(named), false);
        }
    }

    /** Looks again in time. */
    private void plan() {
        isIdle = jobs.size() == 0 && sender.jobs().isEmpty();
        double every = isIdle ? PRESENCE_S : Math.min(PRESENCE_S, lease / BEATS_PER_TIMEOUT);
        every = Math.min(every, jobs.heartbeatTimeoutMin() / BEATS_PER_TIMEOUT);
        double now = Loop.now();
        due = last + every * (0.8 + 0.2 * ThreadLocalRandom.current().nextDouble());
        double tick = isIdle && onWay == null ? PRESENCE_S : Math.min(TICK_S, every);
        double pause = Math.min(tick, due - now);
        if (onWay != null && now >= due) {
            pause = tick; // it is on its way: no hurry until it is heard
        }
        if (timer != null) {
            timer.cancel(false);
        }
        double extra = Math.min(TICK_S, every);
        timer = loop.schedule(Math.max(TICK_S_MIN, pause), () -> look(extra));
    }

    private void look(double extra) {
        double now = Loop.now();
        fence(now);
        lookForPlaces(now);
        if (onWay != null && now > last + LOST_AFTER_S) {
            outage.begin(last, sender.lastError());
        }
        if (now >= due || now >= last + extra && hasNews(now)) {
            beat();
        }
        plan();
    }

    private List<KafkaJob> named() {
        List<KafkaJob> named = new ArrayList<>();
        for (Job job : jobs.all()) {
            if (job instanceof KafkaJob one && one.hasId() && one.isKeptAlive()) {
                named.add(one);
            }
        }
        sender.jobs().stream().filter(KafkaJob::hasId).forEach(named::add);
        return named;
    }

    private void lookForPlaces(double now) {
        if (capacity.getAsInt() > 0) {
            fullSince = 0;
        } else if (fullSince == 0) {
            fullSince = now;
        }
    }

    private boolean hasNews(double now) {
        if (fullSince > 0 && !isFullTold && now >= fullSince + NAMED_AFTER_S) {
            return true;
        }
        for (Job job : jobs.all()) {
            if (job instanceof KafkaJob one && one.hasId() && one.isKeptAlive()) {
                boolean isLong = !one.isNamed() && now >= one.seenAt() + NAMED_AFTER_S;
                if (isLong || one.details() != one.detailsTold()) {
                    return true;
                }
            }
        }
        return false;
    }

    /** Returns the details that are not told yet, as many as a record should carry; the others go with the next. */
    private static Map<KafkaJob, byte[]> newsOf(List<KafkaJob> named) {
        int room = DETAILS_BYTES_AT_ONCE;
        Map<KafkaJob, byte[]> news = new IdentityHashMap<>();
        for (KafkaJob job : named) {
            byte[] details = job.details();
            if (details != null && details != job.detailsTold() && details.length <= room) {
                news.put(job, details);
                room -= details.length;
            }
        }
        return news;
    }

    private void send(List<KafkaJob> named, Map<KafkaJob, byte[]> news, boolean isLeaving) {
        double sentAt = Loop.now();
        last = sentAt;
        int free = capacity.getAsInt();
        isFullTold = free == 0;
        List<byte[]> inFlight =
                named.stream().map(job -> job.inFlight(news.get(job))).toList();
        byte[] value = writer.write(inFlight, free, isLeaving);
        onWay = new Sending(topic, key, value, null, (sending, error) -> heard(sending, error, sentAt, named, news));
        sender.send(onWay);
    }

    private void heard(
            Sending sending, Exception error, double sentAt, List<KafkaJob> named, Map<KafkaJob, byte[]> news) {
        if (onWay == sending) {
            onWay = null;
        }
        if (error != null) {
            return;
        }
        for (KafkaJob job : named) {
            job.seenAt(Math.max(job.seenAt(), sentAt));
            job.named();
            if (news.containsKey(job)) {
                job.detailsTold(news.get(job));
            }
        }
        outage.end();
        if (Loop.now() > sentAt + OLD_S) {
            beat();
        }
    }

    /** Stops the jobs of which nobody has heard for longer than their lease: another worker may have them by now. */
    private void fence(double now) {
        List<Job> late = new ArrayList<>();
        for (Job job : jobs.all()) {
            if (job.stop() == null && now >= job.seenAt() + job.lease()) {
                late.add(job);
            }
        }
        execution.stopJobs(late, Stop.FENCED);
    }
}
