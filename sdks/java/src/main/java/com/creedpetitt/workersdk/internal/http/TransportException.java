package com.creedpetitt.workersdk.internal.http;

/** A call did not come through. */
abstract class TransportException extends Exception {
    private static final long serialVersionUID = 1L;

    TransportException(String message) {
        super(message);
    }

    /** No answer, or one that says "not now". Make the same call again, after a growing pause. */
    static final class Unavailable extends TransportException {
        private static final long serialVersionUID = 1L;

        Unavailable(String message) {
            super(message);
        }
    }

    /** The orchestrator does not know this worker (any more). Register again and repeat the call. */
    static final class WorkerUnknown extends TransportException {
        private static final long serialVersionUID = 1L;

        WorkerUnknown(String message) {
            super(message);
        }
    }

    /** The call was too large as a whole. Send fewer results at once. */
    static final class TooLarge extends TransportException {
        private static final long serialVersionUID = 1L;

        TooLarge(String message) {
            super(message);
        }
    }

    /** The orchestrator will not do this, however often it is asked. */
    static final class Refused extends TransportException {
        private static final long serialVersionUID = 1L;

        final int status;
        final String title;
        final String detail;

        Refused(int status, String title, String detail) {
            super(status + " " + title + (detail.isEmpty() ? "" : ": " + detail));
            this.status = status;
            this.title = title;
            this.detail = detail;
        }
    }
}
