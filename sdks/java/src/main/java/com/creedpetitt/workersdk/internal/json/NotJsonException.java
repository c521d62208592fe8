package com.creedpetitt.workersdk.internal.json;

/** A value cannot be written as JSON. The message says what is wrong, and where as a path from {@code $}. */
public final class NotJsonException extends Exception {
    private static final long serialVersionUID = 1L;

    NotJsonException(String message) {
        super(message);
    }
}
