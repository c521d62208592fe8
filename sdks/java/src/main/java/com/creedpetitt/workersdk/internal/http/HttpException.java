package com.creedpetitt.workersdk.internal.http;

/** There is no answer: no connection, a connection lost, a time-out, or something that is not HTTP. */
public class HttpException extends Exception {
    private static final long serialVersionUID = 1L;

    private final boolean isLasting;

    HttpException(String message, boolean isLasting, Throwable cause) {
        super(message, cause);
        this.isLasting = isLasting;
    }

    /**
     * Tells whether to ask again would bring the same.
     *
     * @return true when the answer is larger than whoever asked takes
     */
    public boolean isLasting() {
        return isLasting;
    }
}
