package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.internal.json.Json;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.NullNode;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.MDC;

/** Takes jobs, gives outcomes to {@code deliver} on the loop. Every job that is started is delivered once, in any order. */
public final class Execution {
    private static final int RESULT_BYTES_MAX = 2 * 1024 * 1024;

    private final Map<String, RegisteredHandler> handlers;
    private final Json json;
    private final Logger logger;
    private final Loop loop;
    private final Consumer<List<Outcome>> deliver;
    private final ExecutorService threads = HandlerThreads.open();
    private final ConcurrentLinkedQueue<Outcome> done = new ConcurrentLinkedQueue<>();
    private final AtomicBoolean isNotified = new AtomicBoolean();
    private volatile int resultBytesMax = RESULT_BYTES_MAX;

    Execution(
            Map<String, RegisteredHandler> handlers,
            Json json,
            Logger logger,
            Loop loop,
            Consumer<List<Outcome>> deliver) {
        this.handlers = handlers;
        this.json = json;
        this.logger = logger;
        this.loop = loop;
        this.deliver = deliver;
    }

    /**
     * Sets how large a result may be.
     *
     * @param bytes of JSON
     */
    public void resultBytesMax(int bytes) {
        resultBytesMax = bytes;
    }

    /**
     * Starts jobs.
     *
     * @param jobs in hand
     */
    public void start(Collection<? extends Job> jobs) {
        for (Job job : jobs) {
            try {
                threads.execute(() -> run(job));
            } catch (RejectedExecutionException error) {
                lay(Outcomes.released(job)); // the worker is gone
            }
        }
    }

    /**
     * Tells jobs to stop, each once, and says so in the log.
     *
     * @param jobs in hand
     * @param why the reason
     */
    public void stopJobs(Collection<? extends Job> jobs, Stop why) {
        for (Job job : jobs) {
            if (job.stop() == null) {
                if (why == Stop.RELEASED) {
                    logger.debug("{}: stopping: {}", job, why);
                } else {
                    logger.info("{}: stopping: {}", job, why);
                }
                job.tellToStop(why);
            }
        }
    }

    /** Lets the threads go. Those still in a handler end with it, or with the process. */
    void close() {
        threads.shutdownNow();
    }

    /** Runs a handler, on a thread of its own. Never throws. */
    private void run(Job job) {
        job.begin();
        Outcome outcome;
        try {
            describe(job);
            outcome = job.stop() == null ? call(job) : Outcomes.released(job);
        } catch (Throwable error) {
            outcome = fail(job, error);
        } finally {
            job.end();
            MDC.clear();
        }
        if (outcome != null) {
            lay(outcome);
        }
    }

    private static void describe(Job job) {
        JsonNode raw = job.raw();
        MDC.put("workflow", raw.path("workflowId").asText(""));
        MDC.put("run", raw.path("workflowRunId").asText(""));
        MDC.put("step", raw.path("stepIndex").asText("0"));
        MDC.put("action", job.action());
        MDC.put("attempt", Integer.toString(job.attempt()));
        String parent = job.trace().get("traceparent");
        if (parent != null) {
            MDC.put("traceparent", parent);
        }
    }

    /** Returns the outcome; null when the handler goes on without a thread. */
    private Outcome call(Job job) throws Exception {
        RegisteredHandler handler = handlers.get(job.action());
        if (handler == null) {
            return Outcomes.failed(
                    job,
                    new Failure(
                            Outcomes.UNKNOWN_ACTION,
                            "this worker has no handler for the action '" + job.action() + "'",
                            "",
                            true,
                            null));
        }
        Object payload;
        try {
            payload = payloadOf(job, handler, json);
        } catch (IOException error) {
            String message = "the payload is no " + handler.type().toCanonical() + ": " + error.getMessage();
            return fail(job, Failure.last(Outcomes.PAYLOAD_MISMATCH, Json.cut(message, Outcomes.MESSAGE_BYTES_MAX)));
        }
        Object result = handler.call().handle(payload, new JobContext(job, json, logger));
        if (result instanceof CompletionStage<?> stage) {
            stage.whenComplete((value, error) -> lay(outcomeOf(job, value, error)));
            if (stage instanceof Future<?> future) {
                job.goOn(future);
            }
            return null;
        }
        return complete(job, result);
    }

    /**
     * Reads the payload as what a handler takes.
     *
     * @param job whose
     * @param handler for whom
     * @param json how classes are read
     * @return the payload; may be null
     * @throws IOException it is something else
     */
    public static Object payloadOf(Job job, RegisteredHandler handler, Json json) throws IOException {
        JsonNode payload = job.raw().path("payload");
        if (payload.isMissingNode()) {
            payload = NullNode.getInstance();
        }
        return handler.type() == null ? Json.natural(payload) : json.as(payload, handler.type());
    }

    /** Returns what came of a future. Never throws: nobody would hear of it, and the job would hang. */
    private Outcome outcomeOf(Job job, Object value, Throwable error) {
        try {
            return error == null ? complete(job, value) : fail(job, cause(error));
        } catch (Throwable fault) {
            return fail(job, fault);
        }
    }

    private Outcome complete(Job job, Object result) {
        if (job.hasSeenStop()) {
            // Its handler was promised that the result will not be used. The lease may live on: another attempt does
            // it.
            return Outcomes.released(job);
        }
        return Outcomes.completed(job, result, json, resultBytesMax);
    }

    private Outcome fail(Job job, Throwable error) {
        boolean isAnswer = job.stop() != null && isInterruption(error);
        return job.hasSeenStop() || isAnswer ? Outcomes.released(job) : fail(job, Outcomes.failureOf(error));
    }

    private Outcome fail(Job job, Failure failure) {
        logger.warn("{} failed: {}: {}", job, failure.type(), Json.cut(failure.message(), 500));
        logger.debug("{}", failure.stack());
        return Outcomes.failed(job, failure);
    }

    /** Returns whether this is how a handler ends that was told to stop. */
    private static boolean isInterruption(Throwable error) {
        for (Throwable one = error; one != null; one = one.getCause()) {
            if (one instanceof InterruptedException
                    || one instanceof CancellationException
                    || one instanceof ClosedByInterruptException
                    || one instanceof InterruptedIOException) {
                return true;
            }
        }
        return false;
    }

    /**
     * Returns what a future really failed with.
     *
     * @param error what it says
     * @return the cause of a wrapper, or the error itself
     */
    public static Throwable cause(Throwable error) {
        return error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
    }

    private void lay(Outcome outcome) {
        done.add(outcome);
        if (isNotified.compareAndSet(false, true)) {
            loop.execute(this::collect);
        }
    }

    private void collect() {
        // The flag falls before the look: an outcome laid down after the look raises it again.
        isNotified.set(false);
        List<Outcome> outcomes = new ArrayList<>();
        for (Outcome outcome = done.poll(); outcome != null; outcome = done.poll()) {
            outcomes.add(outcome);
        }
        if (!outcomes.isEmpty()) {
            deliver.accept(outcomes);
        }
    }
}
