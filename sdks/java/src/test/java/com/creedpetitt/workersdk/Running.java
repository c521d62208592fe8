package com.creedpetitt.workersdk;

import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** A worker that runs until the block ends; it must then leave in good order. Each says that it is of another group. */
public final class Running implements AutoCloseable {
    private static final Duration WAIT_MAX = Duration.ofSeconds(30);

    private final Worker worker;
    private final CompletableFuture<Void> end = new CompletableFuture<>();
    public final Thread thread;
    private volatile boolean wasInterrupted;

    /** Starts the worker on a thread of its own. */
    public Running(Worker worker, String url) {
        this.worker = worker;
        thread = new Thread(() -> {
            try {
                worker.start(url, "workflow-workers-" + UUID.randomUUID());
                wasInterrupted = Thread.currentThread().isInterrupted();
                end.complete(null);
            } catch (Throwable error) {
                end.completeExceptionally(error);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    /** Returns once it has returned by itself; throws what it threw. */
    public void ends() {
        try {
            end.get(WAIT_MAX.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            throw error.getCause() instanceof RuntimeException known ? known : new IllegalStateException(error);
        } catch (InterruptedException | TimeoutException error) {
            throw new AssertionError("the worker did not leave", error);
        }
    }

    /** Tells whether its thread was interrupted when it had returned. */
    public boolean wasInterrupted() {
        return wasInterrupted;
    }

    /** Tells whether it has returned. */
    public boolean hasEnded() {
        return end.isDone();
    }

    @Override
    public void close() {
        worker.stop();
        ends();
    }
}
