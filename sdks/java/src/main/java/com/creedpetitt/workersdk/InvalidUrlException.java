package com.creedpetitt.workersdk;

/** The address to connect to cannot be read. The message names what is understood. */
public class InvalidUrlException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what is wrong
     */
    public InvalidUrlException(String message) {
        super(message);
    }
}
