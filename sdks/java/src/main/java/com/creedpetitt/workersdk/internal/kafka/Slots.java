package com.creedpetitt.workersdk.internal.kafka;

/**
 * The worker's places for jobs. Safe to use from any thread.
 *
 * <p>Rule 1: a job has a place from the moment it is claimed to the moment its result is written.
 *
 * <p>Rule 2: while somebody wishes to be alone, nobody else is given a place; once all are free, he has them all.
 */
final class Slots {
    private final int limit;
    private int free;
    private Object alone; // who wishes to be alone, or is
    private boolean isGranted;

    Slots(int limit) {
        this.limit = limit;
        this.free = limit;
    }

    /** Returns how many jobs could be given a place now: none while somebody wishes to be alone. */
    synchronized int free() {
        return alone == null ? free : 0;
    }

    /** Takes up to so many places; returns how many there were. */
    synchronized int take(int count) {
        if (alone != null) {
            return 0;
        }
        int taken = Math.min(count, free);
        free -= taken;
        return taken;
    }

    /** Takes every place; false while not all are free, and from then on nobody else is given one. */
    synchronized boolean takeAll(Object who) {
        if (alone == null) {
            alone = who;
        }
        if (!wouldGive(who)) {
            return false;
        }
        free = 0;
        isGranted = true;
        return true;
    }

    synchronized void giveBack(int count) {
        free += count;
    }

    /** Ends being alone. */
    synchronized void giveBackAll() {
        free = limit;
        alone = null;
        isGranted = false;
    }

    /** Lets go of a wish to be alone, unless it was granted. */
    synchronized void withdraw(Object who) {
        if (alone == who && !isGranted) {
            alone = null;
        }
    }

    /** Tells whether somebody would be given what he wants. */
    synchronized boolean wouldGive(Object who) {
        return alone == null ? free > 0 : alone == who && free == limit;
    }

    /** Tells whether every place is free. */
    synchronized boolean isIdle() {
        return free == limit;
    }
}
