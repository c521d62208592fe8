package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Failure;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.JobsInHand;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.creedpetitt.workersdk.internal.work.Stop;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.event.Level;

/**
 * The heart of the worker: reporting results and taking jobs, in as few calls as possible. On the loop.
 *
 * <p>Rule 1: while there is room for a job, one call waits for jobs at the orchestrator.
 *
 * <p>Rule 2: a result goes out with the next call, and that call asks for the next jobs: one round trip per step.
 *
 * <p>Rule 3: a result never waits for a waiting call to come back; it goes out beside it, on a second connection.
 *
 * <p>Rule 4: results that are ready while both lines are in use are gathered for the next call.
 *
 * <p>Rule 5: the jobs of one answer get two milliseconds to come back together before the next call is made.
 *
 * <p>Rule 6: results stay here until a call that carried them was answered.
 *
 * <p>Rule 7: whoever answers "nothing" without waiting is asked ten times a second, not more often.
 *
 * <p>There are two lines. The first one waits for jobs and carries the results that are ready when it is sent; the second
 * one is used for results only while the first one is waiting.
 */
final class Exchanges {
    private static final double WAIT_S = 20.0;
    private static final double TOGETHER_S = 0.002;
    private static final double NOTHING_S = 0.1;
    private static final Set<Integer> CONTENT_STATUSES = Set.of(400, 422);

    /** An exchange that is under way. */
    private record Call(List<Outcome> batch, int capacity, double sentAt, CompletableFuture<JsonNode> answer) {}

    final Outbox outbox = new Outbox();

    private final Link link;
    private final JobsInHand jobs;
    private final Execution execution;
    private final int concurrency;
    private final Loop loop;
    private final Logger logger;
    private final Runnable onDraining;
    private final Consumer<Throwable> onFailure;
    private final Consumer<List<Job>> onAccepted;
    private Call first;
    private Call second;
    private boolean isNudged;
    private Future<?> timer;
    private double notBefore;
    private double askAfter;
    private int burst; // the number of the latest burst of jobs, how many of it are not done, and until when it counts
    private int burstLeft;
    private double burstUntil;
    private boolean isTaking = true;
    private boolean isClosed;
    private CompletableFuture<Void> atRest;

    Exchanges(
            Link link,
            JobsInHand jobs,
            Execution execution,
            int concurrency,
            Loop loop,
            Logger logger,
            Runnable onDraining,
            Consumer<Throwable> onFailure,
            Consumer<List<Job>> onAccepted) {
        this.link = link;
        this.jobs = jobs;
        this.execution = execution;
        this.concurrency = concurrency;
        this.loop = loop;
        this.logger = logger;
        this.onDraining = onDraining;
        this.onFailure = onFailure;
        this.onAccepted = onAccepted;
    }

    // ------------------------------------------------------------ from outside

    /** Takes results that are ready to be sent. */
    void report(List<Outcome> results) {
        outbox.add(results);
        results.forEach(outcome -> forget(outcome.job()));
        if (burstLeft == 0 && !isNudged && Loop.now() < burstUntil) {
            pump(); // the whole burst is here: nothing else is about to come
        } else {
            nudge();
        }
    }

    /** Lets a job go of which nobody wants the result. */
    void drop(Job job) {
        forget(job);
        nudge();
    }

    /** Looks, soon, whether there is something to send. */
    void nudge() {
        if (!isNudged && !isClosed) {
            isNudged = true;
            loop.execute(this::pump);
        }
    }

    /** The orchestrator is there again: does not wait for the end of the pause. */
    void resume() {
        notBefore = 0;
        nudge();
    }

    /** Asks for no more jobs. A call that waits goes on until it ends; what it brings is given back. */
    void stopTaking() {
        isTaking = false;
        nudge();
    }

    /** Ends the call that waits, and says when every result has been acknowledged. Call it after {@link #stopTaking}. */
    CompletableFuture<Void> flush() {
        if (first != null) {
            first.answer.cancel(true); // its results are sent again; its jobs, if any, go back when the worker leaves
        }
        atRest = new CompletableFuture<>();
        nudge();
        return atRest;
    }

    /** Ends everything. What has not been sent is lost. */
    void close() {
        isClosed = true;
        for (Call call : new Call[] {first, second}) {
            if (call != null) {
                call.answer.cancel(true);
            }
        }
    }

    // ------------------------------------------------------------ deciding

    private void pump() {
        isNudged = false;
        if (isClosed) {
            return;
        }
        double now = Loop.now();
        if (now < notBefore) {
            pumpAt(notBefore);
        } else if (burstLeft > 0 && now < burstUntil) {
            pumpAt(burstUntil);
        } else if (first == null) {
            useFirst(now);
        } else if (!outbox.isEmpty() && second == null) {
            useSecond(now);
        }
        if (atRest != null && outbox.isEmpty() && first == null && second == null) {
            atRest.complete(null);
        }
    }

    private void useFirst(double now) {
        int capacity = capacity();
        if (outbox.isEmpty()) {
            if (capacity == 0) {
                return;
            }
            if (now < askAfter) {
                pumpAt(askAfter);
                return;
            }
        }
        first = send(now, capacity, Math.min(WAIT_S, link.terms.waitMax()));
        if (!outbox.isEmpty()) {
            nudge();
        }
    }

    private void useSecond(double now) {
        // A call that carried results is most often answered in a moment: what comes meanwhile is gathered.
        if (!first.batch.isEmpty() && now < first.sentAt + TOGETHER_S) {
            pumpAt(first.sentAt + TOGETHER_S);
        } else {
            second = send(now, capacity(), 0);
        }
    }

    private int capacity() {
        if (!isTaking || jobs.hasAlone()) {
            return 0; // an orchestrator that did not hand the job out itself does not know that it runs alone
        }
        int offered = (first == null ? 0 : first.capacity) + (second == null ? 0 : second.capacity);
        int free = concurrency - jobs.size() - offered;
        return Math.max(0, Math.min(free, link.terms.capacityMax()));
    }

    private void pumpAt(double when) {
        if (timer != null) {
            timer.cancel(false);
        }
        timer = loop.schedule(when - Loop.now(), this::nudge);
    }

    // ------------------------------------------------------------ calling

    private Call send(double now, int capacity, double longestWait) {
        List<Outcome> batch = outbox.take();
        // A call must answer at once when more results wait for the line, and when it is to show, after a failure,
        // whether the orchestrator is there again.
        double wait = capacity == 0 || !outbox.isEmpty() || link.isInDoubt() ? 0 : longestWait;
        batch.forEach(Outcome::sent);
        int registrations = link.registrations();
        Call call = new Call(batch, capacity, now, link.transport.exchange(batch, capacity, wait));
        call.answer.whenCompleteAsync(
                (answer, error) -> {
                    if (error == null) {
                        arrived(call, wait, answer);
                    } else {
                        recover(call, Execution.cause(error), registrations);
                    }
                },
                loop);
        return call;
    }

    private void arrived(Call call, double wait, JsonNode answer) {
        freeLine(call);
        link.reached();
        outbox.carryMore();
        apply(answer, call.batch);
        if (wait > 0 && call.batch.isEmpty() && answer.isEmpty()) {
            askAfter = Math.max(askAfter, call.sentAt + NOTHING_S);
        }
        nudge();
    }

    private void freeLine(Call call) {
        if (first == call) {
            first = null;
        } else if (second == call) {
            second = null;
        }
    }

    private void recover(Call call, Throwable error, int registrations) {
        List<Outcome> batch = call.batch;
        boolean isContent = error instanceof TransportException.TooLarge
                || error instanceof TransportException.Refused refused && CONTENT_STATUSES.contains(refused.status);
        if (isContent && batch.size() == 1) {
            outbox.putBack(insteadOf(batch.get(0), error));
        } else {
            outbox.putBack(batch);
            if (isContent && !batch.isEmpty()) {
                outbox.carryFewer(batch.size()); // one of them is to blame: halving finds it
            } else if (error instanceof TransportException.WorkerUnknown) {
                link.registerAgain(registrations)
                        .whenCompleteAsync(
                                (done, refusal) -> {
                                    freeLine(call);
                                    if (refusal != null) {
                                        onFailure.accept(Execution.cause(refusal));
                                    }
                                    nudge();
                                },
                                loop);
                return;
            } else if (error instanceof TransportException) {
                notBefore = Loop.now() + link.failed(error);
            } else if (!(error instanceof CancellationException)) {
                onFailure.accept(error);
            }
        }
        freeLine(call);
        nudge();
    }

    /** The orchestrator will not have this result: says so in its place, so that the attempt does not hang. */
    private List<Outcome> insteadOf(Outcome outcome, Throwable error) {
        if (outcome.status() == Outcome.Status.FAILED) {
            logger.error("{}: its failure could not be reported: {}", outcome.job(), error.getMessage());
            return List.of();
        }
        String kind = error instanceof TransportException.TooLarge ? Outcomes.TOO_LARGE : Outcomes.REFUSED;
        String message = "the result of " + outcome.body().length + " bytes was not taken: " + error.getMessage();
        return List.of(Outcomes.failed(outcome.job(), Failure.last(kind, message)));
    }

    // ------------------------------------------------------------ answers

    private void apply(JsonNode answer, List<Outcome> sent) {
        execution.stopJobs(jobs.findAll(answer.path("cancelled")), Stop.CANCELLED);
        tellRejections(answer.path("rejected"), sent);
        if (answer.path("draining").asBoolean(false)) {
            onDraining.run();
        }
        if (!answer.path("jobs").isEmpty()) {
            accept(answer.path("jobs"));
        }
    }

    private void accept(JsonNode raws) {
        double now = Loop.now();
        if (now >= burstUntil) {
            burst++;
            burstLeft = 0;
        }
        List<Job> accepted = new ArrayList<>();
        for (JsonNode raw : raws) {
            Job job = read(raw, now);
            if (job != null) {
                accepted.add(job);
            }
        }
        if (!isTaking) {
            List<Outcome> released = new ArrayList<>();
            accepted.forEach(job -> released.add(Outcomes.released(job)));
            report(released);
            return;
        }
        burstLeft += accepted.size();
        burstUntil = now + TOGETHER_S;
        onAccepted.accept(accepted);
        execution.start(accepted);
    }

    private Job read(JsonNode raw, double now) {
        Job job;
        try {
            job = new Job(raw, now, burst, link.terms.lease());
        } catch (IllegalArgumentException error) {
            logger.error("a job that cannot be read: {}", raw, error);
            return null;
        }
        if (jobs.find(raw) != null) {
            return null;
        }
        jobs.add(job);
        return job;
    }

    private void forget(Job job) {
        jobs.remove(job);
        if (job.burst() == burst) {
            burstLeft--;
        }
    }

    private void tellRejections(JsonNode rejections, List<Outcome> sent) {
        for (JsonNode rejection : rejections) {
            String jobId = rejection.path("jobId").asText("");
            int attempt = rejection.path("attempt").asInt();
            String code = rejection.path("code").asText("");
            // A result whose first answer was lost is expected to be refused the second time.
            boolean isRepeated = sent.stream()
                    .anyMatch(outcome -> outcome.wasSentBefore()
                            && outcome.job().id().equals(jobId)
                            && outcome.job().attempt() == attempt);
            String reason = rejection.path("reason").asText(code);
            logger.atLevel(isRepeated ? Level.DEBUG : levelOf(code))
                    .log("the result of job {} attempt {} was not used: {}", jobId, attempt, reason);
        }
    }

    private static Level levelOf(String code) {
        return switch (code) {
            case "already-recorded" -> Level.DEBUG;
            case "run-finished" -> Level.INFO;
            case "result-invalid" -> Level.ERROR;
            default -> Level.WARN;
        };
    }
}
