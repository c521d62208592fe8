package com.creedpetitt.workersdk.internal.http;

import java.util.concurrent.ThreadLocalRandom;

/**
 * Pauses between tries: the n-th is anywhere between 0 and min(10 s, 0.1 s * 2^n).
 *
 * <p>Full jitter keeps a thousand workers that lost the same orchestrator from coming back in step.
 */
public final class Backoff {
    private static final double FIRST_S = 0.1;
    private static final double MAX_S = 10.0;
    private static final int DOUBLINGS_MAX = 32;

    private int count;

    /**
     * Returns the next pause.
     *
     * @return seconds
     */
    public double next() {
        double longest = Math.min(MAX_S, FIRST_S * Math.pow(2, Math.min(count, DOUBLINGS_MAX)));
        count++;
        return ThreadLocalRandom.current().nextDouble() * longest;
    }

    /** Begins again with the shortest pause. */
    public void reset() {
        count = 0;
    }
}
