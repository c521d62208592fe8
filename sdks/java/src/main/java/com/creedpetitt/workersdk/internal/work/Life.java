package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.internal.json.Json;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.slf4j.Logger;

/**
 * One life of a worker, whatever it speaks: connect, work, leave.
 *
 * <p>Rule 1: a worker that leaves takes no more jobs first, and says goodbye last.
 *
 * <p>Rule 2: jobs in hand get the drain time-out to finish; what is not finished by then is given back.
 *
 * <p>Rule 3: a result of an attempt that nobody wants any more is dropped; every other one is reported.
 *
 * <p>The stages run on the thread that calls {@link #run}; everything else on the loop.
 */
public abstract class Life {
    private static final double FAREWELL_S = 5.0;
    private static final double HURRIED_FAREWELL_S = 1.0;
    private static final int NAMED_MAX = 10;

    /** The thread that the state belongs to. */
    protected final Loop loop = new Loop();
    /** The jobs in hand. */
    protected final JobsInHand jobs = new JobsInHand();
    /** Runs them. */
    protected final Execution execution;
    /** What the worker says about itself. */
    protected final Hello hello;
    /** Where it writes. */
    protected final Logger logger;
    /** Done when it is to leave. */
    protected final CompletableFuture<Void> leaving = new CompletableFuture<>();

    private final CompletableFuture<Void> hurrying = new CompletableFuture<>();
    private final double drainTimeout;
    private volatile boolean isConnected;
    private volatile Throwable failure;
    private boolean isInterrupted; // on the thread of the stages

    /**
     * Makes one.
     *
     * @param hello what the worker says about itself
     * @param handlers by action
     * @param json how values become JSON
     * @param drainTimeout seconds that jobs in hand get to finish
     * @param logger where it writes
     */
    protected Life(
            Hello hello, Map<String, RegisteredHandler> handlers, Json json, double drainTimeout, Logger logger) {
        this.hello = hello;
        this.drainTimeout = drainTimeout;
        this.logger = logger;
        loop.onFailure(this::failed);
        execution = new Execution(handlers, json, logger, loop, this::deliver);
    }

    /** Finishes what is in hand and goes. Safe to call from any thread. */
    public final void leave() {
        leaving.complete(null);
    }

    /** Gives back what is in hand and goes. Safe to call from any thread. */
    public final void leaveAtOnce() {
        hurrying.complete(null);
        leaving.complete(null);
    }

    /** Works until told to leave. An interruption of the calling thread makes it leave at once. */
    public final void run() {
        try {
            try {
                if (!connectUnlessToldToLeave()) {
                    return;
                }
                loop.tell(this::begin);
                leaving.get();
            } catch (InterruptedException error) {
                interrupted();
                leaving.complete(null);
            }
            drain();
        } catch (ExecutionException | CompletionException error) {
            throw rethrown(error.getCause());
        } finally {
            end();
            if (isInterrupted) {
                Thread.currentThread().interrupt();
            }
        }
        if (failure != null) {
            throw rethrown(failure);
        }
    }

    // ------------------------------------------------------------ what a subclass says

    /**
     * Returns the other side, for log lines: without a password.
     *
     * @return an address
     */
    protected abstract String address();

    /**
     * Returns how many results are not acknowledged. On the loop.
     *
     * @return a number
     */
    protected abstract int unsent();

    /**
     * Connects, trying until it is done or {@link #leaving} is.
     *
     * @return done when there is a connection, failed when there never will be
     */
    protected abstract CompletableFuture<?> connect();

    /** Gives signs of life and takes jobs from now on. On the loop. */
    protected abstract void begin();

    /** Takes no more jobs. Those that still come are given back. Waits a second at most. */
    protected abstract void stopTaking();

    /**
     * Takes results that are ready to be sent, and their jobs out of hand. On the loop.
     *
     * @param results at least one
     */
    protected abstract void report(List<Outcome> results);

    /**
     * Lets a job go of which nobody wants the result. On the loop.
     *
     * @param job which
     */
    protected abstract void drop(Job job);

    /**
     * Ends what would bring new jobs while the last results go out, and says when every result has been acknowledged. On
     * the loop.
     *
     * @return done then
     */
    protected abstract CompletableFuture<Void> flush();

    /**
     * Says that this worker leaves, and logs how that went. Never fails.
     *
     * @param timeout seconds
     */
    protected abstract void sayGoodbye(double timeout);

    /** Closes the connections. Never fails. */
    protected abstract void close();

    // ------------------------------------------------------------ what the parts say

    /**
     * Ends this life: something went wrong that nobody here can mend. Safe to call from any thread.
     *
     * @param error what
     */
    protected final void failed(Throwable error) {
        if (failure == null) {
            failure = error;
        }
        leaveAtOnce();
    }

    /**
     * Tells whether there was a connection.
     *
     * @return true from the first one on
     */
    protected final boolean isConnected() {
        return isConnected;
    }

    private void deliver(List<Outcome> results) {
        List<Outcome> wanted = new ArrayList<>(results.size());
        for (Outcome outcome : results) {
            Job job = outcome.job();
            if (!jobs.holds(job)) {
                continue; // given back in the meantime
            }
            if (job.stop() != null && job.stop().isUnwanted()) {
                drop(job);
            } else {
                wanted.add(outcome);
            }
        }
        if (!wanted.isEmpty()) {
            report(wanted);
        }
    }

    // ------------------------------------------------------------ the stages

    /** Connects; false when the worker was told to leave before it was done. */
    private boolean connectUnlessToldToLeave() throws InterruptedException, ExecutionException {
        CompletableFuture<?> connecting = connect();
        CompletableFuture.anyOf(connecting, leaving).get();
        if (!connecting.isDone()) {
            return false;
        }
        connecting.get();
        isConnected = true;
        logger.info(
                "worker {} connected to {}, actions: {}, concurrency {}",
                hello.workerId(),
                address(),
                String.join(", ", hello.actions()),
                hello.concurrency());
        return true;
    }

    /** Lets the jobs in hand finish, reports them, gives back the rest, and goes. */
    private void drain() {
        if (!isConnected) {
            return;
        }
        stopTaking();
        double until = Loop.now() + drainTimeout;
        int left = loop.ask(jobs::size);
        if (left > 0) {
            logger.info("leaving: {} jobs in hand get up to {} s", left, drainTimeout);
            await(loop.ask(jobs::empty), drainTimeout, 0);
        }
        loop.tell(this::giveBack);
        await(loop.ask(this::flush), Math.max(FAREWELL_S, until - Loop.now()), HURRIED_FAREWELL_S);
        int unsent = loop.ask(this::unsent);
        if (unsent > 0) {
            logger.error("{} results could not be reported to {}", unsent, address());
        }
        sayGoodbye(hurrying.isDone() ? HURRIED_FAREWELL_S : FAREWELL_S);
    }

    private void giveBack() {
        List<Job> left = jobs.all();
        if (left.isEmpty()) {
            return;
        }
        String names = left.stream().limit(NAMED_MAX).map(Job::toString).collect(Collectors.joining(", "));
        logger.warn("giving back {} jobs that have not finished: {}", left.size(), names);
        execution.stopJobs(left, Stop.RELEASED);
        List<Outcome> released = new ArrayList<>();
        for (Job job : left) {
            if (job.stop().isUnwanted()) {
                drop(job);
            } else {
                released.add(Outcomes.released(job));
            }
        }
        if (!released.isEmpty()) {
            report(released);
        }
    }

    private void end() {
        execution.close();
        close();
        loop.close();
    }

    /** Waits for an end, so many seconds at most, and no longer than {@code hurried} seconds once told to hurry. */
    private void await(CompletableFuture<Void> end, double timeout, double hurried) {
        waitFor(CompletableFuture.anyOf(end, hurrying), timeout);
        if (hurrying.isDone() && !end.isDone()) {
            waitFor(end, hurried);
        }
    }

    /**
     * Waits for an end, so many seconds at most. An interruption makes this life hurry.
     *
     * @param end what is waited for
     * @param seconds at most
     * @return whether it has come
     */
    protected final boolean waitFor(CompletableFuture<?> end, double seconds) {
        try {
            end.get((long) (Math.max(0, seconds) * 1000), TimeUnit.MILLISECONDS);
            return true;
        } catch (TimeoutException error) {
            return false;
        } catch (InterruptedException error) {
            interrupted();
            return false;
        } catch (ExecutionException | CancellationException error) {
            return true;
        }
    }

    /** Notes that the calling thread was interrupted: this life hurries, and the thread is told again at its end. */
    protected final void interrupted() {
        isInterrupted = true;
        hurrying.complete(null);
    }

    private static RuntimeException rethrown(Throwable error) {
        if (error instanceof Error fatal) {
            throw fatal;
        }
        return error instanceof RuntimeException known ? known : new IllegalStateException(error);
    }
}
