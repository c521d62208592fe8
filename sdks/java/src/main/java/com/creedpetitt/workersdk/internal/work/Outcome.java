package com.creedpetitt.workersdk.internal.work;

/** One entry for {@code results}, and the job that it is of. */
public final class Outcome {
    /** How an attempt ended. */
    public enum Status {
        /** With a result. */
        COMPLETED,
        /** With an error. */
        FAILED,
        /** Given back unharmed. */
        RELEASED
    }

    private final Job job;
    private final byte[] body;
    private final Status status;
    private int tries;

    Outcome(Job job, byte[] body, Status status) {
        this.job = job;
        this.body = body;
        this.status = status;
    }

    /**
     * Returns whose it is.
     *
     * @return the job
     */
    public Job job() {
        return job;
    }

    /**
     * Returns the entry, written once where the handler ran.
     *
     * @return JSON
     */
    public byte[] body() {
        return body;
    }

    /**
     * Returns how the attempt ended.
     *
     * @return the status
     */
    public Status status() {
        return status;
    }

    /** Notes that it is sent. */
    public void sent() {
        tries++;
    }

    /**
     * Tells whether it was sent before the last time.
     *
     * @return true when it may have been recorded already
     */
    public boolean wasSentBefore() {
        return tries > 1;
    }
}
