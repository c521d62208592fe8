package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Loop;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * The one thread that serves the groups of all actions, and hears the orchestrator's words. A client of Kafka belongs to
 * one thread, but a thread may have many: what each of them needs is to be looked after ten times a second. While one of
 * them waits for a commit, the others wait too, which no broker minds.
 */
final class Groups {
    private static final double LOOK_EVERY_S = 0.1;

    private final List<ActionGroup> all;
    private final List<ActionGroup> groups; // in the order of the turn
    private final Control control;
    private final Consumer<Throwable> onFailure;
    private final Semaphore stirred = new Semaphore(0);
    private final Thread thread = new Thread(this::run, "workersdk-groups");
    private volatile boolean isStopping;

    /** {@code onFailure} is called when it cannot go on. */
    Groups(List<ActionGroup> groups, Control control, Consumer<Throwable> onFailure) {
        this.all = List.copyOf(groups);
        this.groups = groups;
        this.control = control;
        this.onFailure = onFailure;
        thread.setDaemon(true);
    }

    void start() {
        thread.start();
    }

    /** There is something to do. Safe to call from any thread. */
    void stir() {
        if (stirred.availablePermits() == 0) {
            stirred.release();
        }
    }

    /**
     * Commits and leaves the groups. Returns at once, and from then on no job is handed over; safe to call from any thread.
     */
    void stop() {
        isStopping = true;
        all.forEach(ActionGroup::stop);
        stir();
    }

    /** Waits until the groups are left, so many seconds at most. */
    void join(double seconds) throws InterruptedException {
        thread.join((long) (Math.max(0.001, seconds) * 1000));
    }

    private void run() {
        try {
            groups.forEach(ActionGroup::subscribe);
            double readAt = 0;
            while (!isStopping) {
                double now = Loop.now();
                double pause = LOOK_EVERY_S;
                for (ActionGroup group : groups) {
                    pause = Math.min(pause, group.step(now));
                }
                if (now >= readAt) {
                    control.read(now);
                    readAt = now + LOOK_EVERY_S;
                }
                // Whoever comes first gets the next free place: that is not always the same one.
                Collections.rotate(groups, 1);
                rest(pause);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } catch (Throwable error) {
            onFailure.accept(error);
        }
        all.forEach(ActionGroup::stop);
        all.forEach(ActionGroup::leave);
        control.close();
    }

    private void rest(double seconds) throws InterruptedException {
        if (seconds > 0 && stirred.tryAcquire((long) (seconds * 1e6), TimeUnit.MICROSECONDS)) {
            stirred.drainPermits();
        }
    }
}
