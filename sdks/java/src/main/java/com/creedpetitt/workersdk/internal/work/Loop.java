package com.creedpetitt.workersdk.internal.work;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** The one thread that all state of a worker's life belongs to. What is done on it never waits. */
public final class Loop implements Executor {
    private final ScheduledThreadPoolExecutor executor;
    private volatile Consumer<Throwable> onFailure = error -> {};

    /** Starts it. */
    public Loop() {
        executor = new ScheduledThreadPoolExecutor(1, task -> {
            Thread thread = new Thread(task, "workersdk-loop");
            thread.setDaemon(true);
            return thread;
        });
        executor.setRemoveOnCancelPolicy(true);
        executor.setExecuteExistingDelayedTasksAfterShutdownPolicy(false);
    }

    /**
     * Returns the time in seconds, by a clock that only this process has.
     *
     * @return seconds
     */
    public static double now() {
        return System.nanoTime() / 1e9;
    }

    /** Says who hears of a task that throws. */
    void onFailure(Consumer<Throwable> listener) {
        onFailure = listener;
    }

    /** Does something on the loop, after what was asked for before. After {@link #close} it is not done. */
    @Override
    public void execute(Runnable task) {
        try {
            executor.execute(guarded(task));
        } catch (RejectedExecutionException error) {
            return; // the worker has left
        }
    }

    /**
     * Does something on the loop later.
     *
     * @param seconds from now
     * @param task what
     * @return what cancels it
     */
    public Future<?> schedule(double seconds, Runnable task) {
        try {
            return executor.schedule(guarded(task), (long) (Math.max(0, seconds) * 1e9), TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException error) {
            return CompletableFuture.completedFuture(null); // the worker has left
        }
    }

    /** Does something on the loop and waits for it; for other threads. */
    <T> T ask(Supplier<T> question) {
        return CompletableFuture.supplyAsync(question, executor).join();
    }

    /**
     * Does something on the loop and waits for it; for other threads.
     *
     * @param task what
     */
    public void tell(Runnable task) {
        CompletableFuture.runAsync(task, executor).join();
    }

    /** Ends it. */
    void close() {
        executor.shutdownNow();
    }

    private Runnable guarded(Runnable task) {
        return () -> {
            try {
                task.run();
            } catch (Throwable error) {
                onFailure.accept(error);
            }
        };
    }
}
