package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.Life;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.creedpetitt.workersdk.internal.work.RegisteredHandler;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;

/** One life of a worker that calls the orchestrator: registers, exchanges results for jobs, beats, and leaves. */
public final class HttpLife extends Life {
    private final HttpTransport transport;
    private final Link link;
    private final Exchanges exchanges;
    private final Heartbeats heartbeats;

    /**
     * Makes one; nothing is sent yet.
     *
     * @param http to the orchestrator
     * @param hello what the worker says about itself
     * @param handlers by action
     * @param json how values become JSON
     * @param drainTimeout seconds that jobs in hand get to finish
     * @param logger where it writes
     */
    public HttpLife(
            Http http,
            Hello hello,
            Map<String, RegisteredHandler> handlers,
            Json json,
            double drainTimeout,
            Logger logger) {
        super(hello, handlers, json, drainTimeout, logger);
        transport = new HttpTransport(http);
        link = new Link(transport, hello, loop, logger);
        exchanges = new Exchanges(
                link,
                jobs,
                execution,
                hello.concurrency(),
                loop,
                logger,
                this::askedToDrain,
                this::failed,
                this::accepted);
        heartbeats = new Heartbeats(link, jobs, exchanges, execution, loop, this::askedToDrain, this::failed);
        link.onRecovery = () -> {
            exchanges.resume();
            heartbeats.resume();
        };
    }

    private void accepted(List<Job> accepted) {
        heartbeats.accepted(accepted);
    }

    private void askedToDrain() {
        if (!leaving.isDone()) {
            logger.info("the orchestrator asks this worker to finish and go");
            leave();
        }
    }

    @Override
    protected String address() {
        return transport.address();
    }

    @Override
    protected int unsent() {
        return exchanges.outbox.size();
    }

    @Override
    protected CompletableFuture<Void> connect() {
        CompletableFuture<Void> connected = new CompletableFuture<>();
        loop.execute(() -> link.register()
                .whenCompleteAsync(
                        (done, error) -> {
                            if (error == null) {
                                execution.resultBytesMax(link.terms.resultBytesMax());
                                exchanges.outbox.requestBytesMax = link.terms.requestBytesMax();
                                connected.complete(null);
                            } else {
                                connected.completeExceptionally(Execution.cause(error));
                            }
                        },
                        loop));
        return connected;
    }

    @Override
    protected void begin() {
        heartbeats.begin();
        exchanges.nudge();
    }

    @Override
    protected void stopTaking() {
        loop.execute(exchanges::stopTaking);
    }

    @Override
    protected void report(List<Outcome> results) {
        exchanges.report(results);
    }

    @Override
    protected void drop(Job job) {
        exchanges.drop(job);
    }

    @Override
    protected CompletableFuture<Void> flush() {
        return exchanges.flush();
    }

    @Override
    protected void sayGoodbye(double timeout) {
        CompletableFuture<JsonNode> left = transport.leave(timeout);
        if (!waitFor(left, timeout)) {
            logger.warn("left {} without a word: there was no time", address());
            return;
        }
        Throwable error = left.handle((answer, fault) -> fault).join();
        if (error == null) {
            logger.info("worker {} has left {}", hello.workerId(), address());
        } else if (Execution.cause(error) instanceof TransportException.WorkerUnknown) {
            logger.info("{} had forgotten worker {}", address(), hello.workerId());
        } else {
            logger.warn(
                    "left {} without a word: {}",
                    address(),
                    Execution.cause(error).getMessage());
        }
    }

    @Override
    protected void close() {
        loop.tell(exchanges::close);
    }
}
