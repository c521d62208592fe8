package com.creedpetitt.workersdk.internal.work;

/** Why a job was told to stop. */
public enum Stop {
    /** The orchestrator said so. */
    CANCELLED("its run was cancelled or its attempt timed out"),
    /** The orchestrator does not count it as this worker's any more. */
    LEASE_LOST("its lease is lost: another worker may have it"),
    /** Nobody has acknowledged it for longer than its lease; it may still be this worker's. */
    FENCED("the orchestrator could not be reached for longer than the lease"),
    /** It is given back. */
    RELEASED("the worker is leaving");

    private final String why;

    Stop(String why) {
        this.why = why;
    }

    /** Returns whether nobody wants the result: the orchestrator said so, or has it from elsewhere. */
    boolean isUnwanted() {
        return this == CANCELLED || this == LEASE_LOST;
    }

    @Override
    public String toString() {
        return why;
    }
}
