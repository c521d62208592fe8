package com.creedpetitt.workersdk.real;

import com.creedpetitt.workersdk.Worker;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** A worker in a process of its own. What a job does is its payload's word. */
public final class ChildWorker {
    /** The variable of its lease: short, since whoever kills it waits that long, unless nobody brings jobs back. */
    static final String LEASE = "CHILD_LEASE";

    /** The exit code of one that a job has ended. */
    static final int DEATH = 9;

    private ChildWorker() {}

    /**
     * Starts it.
     *
     * @param actions what it has handlers for
     */
    public static void main(String[] actions) {
        Worker worker = Worker.builder()
                .workerId("w-child-" + ProcessHandle.current().pid())
                .lease(Duration.parse(System.getenv().getOrDefault(LEASE, "PT3S")))
                .kafka(Map.of("session.timeout.ms", 6_000, "heartbeat.interval.ms", 300))
                .build();
        for (String action : actions) {
            worker.register(action, (payload, context) -> {
                if ("stuck".equals(payload) && context.attempt() == 1) {
                    System.out.println("stuck in " + context.jobId());
                    context.heartbeat(Map.of("done", 40));
                    new CountDownLatch(1).await();
                }
                if ("die".equals(payload)) {
                    Runtime.getRuntime().halt(DEATH);
                }
                if ("slow".equals(payload)) {
                    System.out.println("slow in " + context.jobId());
                    System.in.read(); // until the test says so
                }
                return Map.of("worker", "java", "attempt", context.attempt(), "payload", String.valueOf(payload));
            });
        }
        worker.start();
        System.out.println("returned");
    }
}
