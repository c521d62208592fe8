package com.creedpetitt.workersdk.internal.work;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/** Where handlers run: virtual threads where this Java has them (21 and newer), else threads that are kept. */
final class HandlerThreads {
    private HandlerThreads() {}

    static ExecutorService open() {
        try {
            return (ExecutorService)
                    Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException error) {
            AtomicInteger count = new AtomicInteger();
            // There are never more than there are places for jobs: nobody is given a job while all are taken.
            return Executors.newCachedThreadPool(task -> {
                Thread thread = new Thread(task, "workersdk-" + count.incrementAndGet());
                thread.setDaemon(true);
                return thread;
            });
        }
    }
}
