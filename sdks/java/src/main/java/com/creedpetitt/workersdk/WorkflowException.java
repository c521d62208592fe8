package com.creedpetitt.workersdk;

/** The root of everything that this library throws by itself. */
public class WorkflowException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what is wrong, and what to do
     */
    public WorkflowException(String message) {
        super(message);
    }

    /**
     * Makes one that has a cause.
     *
     * @param message what is wrong, and what to do
     * @param cause what it came from
     */
    public WorkflowException(String message, Throwable cause) {
        super(message, cause);
    }
}
