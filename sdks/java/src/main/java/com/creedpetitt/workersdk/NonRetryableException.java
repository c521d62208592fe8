package com.creedpetitt.workersdk;

/**
 * Throw it in a handler: the attempt has failed, and another attempt would fail too.
 *
 * <p>The step fails at once and becomes a dead letter, however many retries its policy has left.
 */
public class NonRetryableException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** What the run shows; null for the name of the class. */
    private final String type;

    /**
     * Makes one whose type is the name of its class, so that a subclass names itself.
     *
     * @param message why it failed
     */
    public NonRetryableException(String message) {
        this(message, null, null);
    }

    /**
     * Makes one with a type of its own.
     *
     * @param message why it failed
     * @param type what the run shows, and what a retry policy's {@code nonRetryable} is compared with
     */
    public NonRetryableException(String message, String type) {
        this(message, type, null);
    }

    /**
     * Makes one that has a cause.
     *
     * @param message why it failed
     * @param type what the run shows; null for the name of the class
     * @param cause what it came from
     */
    public NonRetryableException(String message, String type, Throwable cause) {
        super(message, cause);
        this.type = type;
    }

    /**
     * Returns what the run shows as the error's type.
     *
     * @return the type
     */
    public String type() {
        return type == null ? getClass().getSimpleName() : type;
    }
}
