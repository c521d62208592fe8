package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.JobsInHand;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.creedpetitt.workersdk.internal.work.Stop;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;

/**
 * Signs of life for the jobs in hand, and the worker's own fence when they cannot be given. On the loop.
 *
 * <p>Every job in hand is named, often enough for the shortest of their time-outs. A job whose result waits here to be sent
 * is named too; one whose result is on its way is not.
 */
final class Heartbeats {
    private static final int BEATS_PER_TIMEOUT = 3;
    private static final double RETRY_S_MIN = 0.05;

    private final Link link;
    private final JobsInHand jobs;
    private final Exchanges exchanges;
    private final Execution execution;
    private final Loop loop;
    private final Runnable onDraining;
    private final Consumer<Throwable> onFailure;
    private double last;
    private Future<?> timer;
    private Future<?> guard;
    private boolean isBeating;
    private boolean isPausing; // between two tries
    private int toldAtRegistration;

    Heartbeats(
            Link link,
            JobsInHand jobs,
            Exchanges exchanges,
            Execution execution,
            Loop loop,
            Runnable onDraining,
            Consumer<Throwable> onFailure) {
        this.link = link;
        this.jobs = jobs;
        this.exchanges = exchanges;
        this.execution = execution;
        this.loop = loop;
        this.onDraining = onDraining;
        this.onFailure = onFailure;
    }

    void begin() {
        last = Loop.now();
        plan();
        fence();
    }

    /** Notes new jobs: one with a heartbeat time-out moves the next beat forward, and has a shorter lease. */
    void accepted(List<Job> accepted) {
        if (accepted.stream().anyMatch(job -> job.heartbeatTimeout() > 0)) {
            if (!isBeating) {
                plan();
            }
            fence();
        }
    }

    /** The orchestrator is there again: does not wait for the end of a pause. */
    void resume() {
        if (isPausing) {
            timer.cancel(false);
            beat();
        }
    }

    /** Sees to it that the next beat comes in time. */
    private void plan() {
        double every = Math.min(link.terms.heartbeat(), jobs.heartbeatTimeoutMin() / BEATS_PER_TIMEOUT);
        double due = last + every * (0.8 + 0.2 * ThreadLocalRandom.current().nextDouble());
        if (timer != null) {
            timer.cancel(false);
        }
        timer = loop.schedule(due - Loop.now(), () -> {
            last = Loop.now();
            beat();
        });
    }

    /** Sends one heartbeat, if there is anything to name, until it is heard. */
    private void beat() {
        isPausing = false;
        List<Job> named = new ArrayList<>();
        jobs.all().stream().filter(Job::isKeptAlive).forEach(named::add);
        exchanges.outbox.all().forEach(outcome -> named.add(outcome.job()));
        if (named.isEmpty()) {
            isBeating = false;
            plan();
            return;
        }
        isBeating = true;
        Map<Job, byte[]> news = newsOf(named);
        List<byte[]> entries = new ArrayList<>(named.size());
        named.forEach(job -> entries.add(job.inFlight(news.get(job))));
        double sentAt = Loop.now();
        int registrations = link.registrations();
        link.transport
                .heartbeat(entries)
                .whenCompleteAsync(
                        (pulse, error) -> {
                            if (error == null) {
                                heard(named, news, sentAt, pulse);
                            } else {
                                lost(Execution.cause(error), registrations);
                            }
                        },
                        loop);
    }

    private void heard(List<Job> named, Map<Job, byte[]> news, double sentAt, JsonNode pulse) {
        isBeating = false;
        for (Job job : named) {
            job.seenAt(sentAt);
            if (news.containsKey(job)) {
                job.detailsTold(news.get(job));
            }
        }
        link.reached();
        execution.stopJobs(jobs.findAll(pulse.path("cancelled")), Stop.CANCELLED);
        execution.stopJobs(jobs.findAll(pulse.path("unknown")), Stop.LEASE_LOST);
        if (pulse.path("draining").asBoolean(false)) {
            onDraining.run();
        }
        plan();
    }

    private void lost(Throwable error, int registrations) {
        if (error instanceof TransportException.WorkerUnknown) {
            link.registerAgain(registrations)
                    .whenCompleteAsync(
                            (done, refusal) -> {
                                if (refusal == null) {
                                    beat();
                                } else {
                                    onFailure.accept(Execution.cause(refusal));
                                }
                            },
                            loop);
        } else if (error instanceof TransportException) {
            isPausing = true;
            timer = loop.schedule(Math.max(RETRY_S_MIN, link.failed(error)), this::beat);
        } else {
            onFailure.accept(error);
        }
    }

    /** Returns the details that are not told yet, as many as a call may carry; the others go with the next one. */
    private Map<Job, byte[]> newsOf(List<Job> named) {
        if (toldAtRegistration != link.registrations()) {
            toldAtRegistration = link.registrations();
            // An orchestrator that had to be told of the worker knows nothing of this.
            named.forEach(job -> job.detailsTold(null));
        }
        int room = exchanges.outbox.requestBytesMax / 2;
        Map<Job, byte[]> news = new IdentityHashMap<>();
        for (Job job : named) {
            byte[] details = job.details();
            if (details != null && details != job.detailsTold() && details.length <= room) {
                news.put(job, details);
                room -= details.length;
            }
        }
        return news;
    }

    /** Stops the jobs whose lease has run out unheard: another worker may have them by now. Looks again in time. */
    private void fence() {
        double now = Loop.now();
        double nextLook = now + link.terms.lease();
        List<Job> late = new ArrayList<>();
        for (Job job : jobs.all()) {
            if (job.stop() != null) {
                continue;
            }
            double end = job.seenAt() + job.lease();
            if (now >= end) {
                late.add(job);
            } else {
                nextLook = Math.min(nextLook, end);
            }
        }
        execution.stopJobs(late, Stop.FENCED);
        if (guard != null) {
            guard.cancel(false);
        }
        guard = loop.schedule(Math.max(RETRY_S_MIN, nextLook - now), this::fence);
    }
}
