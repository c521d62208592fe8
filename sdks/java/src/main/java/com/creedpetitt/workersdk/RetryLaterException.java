package com.creedpetitt.workersdk;

import java.time.Duration;

/**
 * Throw it in a handler: the attempt has failed, and the next one shall start after a delay.
 *
 * <p>It counts as an attempt like any other failure; only the delay of the step's policy is replaced.
 */
public class RetryLaterException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final Duration delay;

    /**
     * Makes one that says no more than the delay.
     *
     * @param delay how long until the next attempt, from zero up
     */
    public RetryLaterException(Duration delay) {
        this(delay, null, null);
    }

    /**
     * Makes one with a message.
     *
     * @param delay how long until the next attempt, from zero up
     * @param message why it failed
     */
    public RetryLaterException(Duration delay, String message) {
        this(delay, message, null);
    }

    /**
     * Makes one that has a cause.
     *
     * @param delay how long until the next attempt, from zero up
     * @param message why it failed; null for a usual one
     * @param cause what it came from
     * @throws IllegalArgumentException for a negative delay
     */
    public RetryLaterException(Duration delay, String message, Throwable cause) {
        super(message == null ? "asked to be tried again in " + delay.toMillis() / 1000.0 + " s" : message, cause);
        if (delay.isNegative()) {
            throw new IllegalArgumentException("the delay is from zero up, not " + delay);
        }
        this.delay = delay;
    }

    /**
     * Returns how long until the next attempt.
     *
     * @return the delay
     */
    public Duration delay() {
        return delay;
    }
}
