package com.creedpetitt.workersdk.internal.kafka;

/** A record on the topic of jobs that is no job. */
final class UndecodableException extends Exception {
    private static final long serialVersionUID = 1L;

    UndecodableException(String message) {
        super(message);
    }
}
