package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.NonRetryableException;
import com.creedpetitt.workersdk.RetryLaterException;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.json.NotJsonException;
import java.io.ByteArrayOutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;

/** Writes what comes out of an attempt. Every attempt ends in exactly one entry, which is sent again unchanged. */
public final class Outcomes {
    /** The result is not JSON. */
    public static final String NOT_SERIALIZABLE = "ResultNotSerializable";
    /** The result has too many bytes. */
    public static final String TOO_LARGE = "ResultTooLarge";
    /** The orchestrator will not have the result. */
    public static final String REFUSED = "ResultRefused";
    /** There is no handler. */
    public static final String UNKNOWN_ACTION = "ActionUnknown";
    /** The payload is not what the handler takes. */
    public static final String PAYLOAD_MISMATCH = "PayloadMismatch";

    /** The most bytes of a stack trace. */
    public static final int STACK_BYTES_MAX = 16 * 1024;

    static final int MESSAGE_BYTES_MAX = 8 * 1024;
    static final int TYPE_BYTES_MAX = 256;

    /** This library's way to the handler says nothing to the handler's author. */
    private static final Pattern OUR_FRAMES = Pattern.compile("(?m)^\\tat (com\\.creedpetitt\\.workersdk\\.internal\\."
            + "|java\\.base/java\\.util\\.concurrent\\.(ThreadPool|ThreadPer|FutureTask|Executors)"
            + "|java\\.base/java\\.lang\\.(Thread|VirtualThread)\\.run).*\\R");

    private Outcomes() {}

    /**
     * Writes a handler's result; one that cannot be sent becomes a failure that no retry would mend.
     *
     * @param job whose it is
     * @param result what the handler returned
     * @param json how it is written
     * @param bytesMax how large it may be
     * @return an entry
     */
    public static Outcome completed(Job job, Object result, Json json, int bytesMax) {
        try {
            byte[] text = writeResult(result, json, bytesMax);
            return new Outcome(job, join(job.resultHead() + ",\"result\":", text, "}"), Outcome.Status.COMPLETED);
        } catch (ResultException error) {
            return failed(job, error.failure());
        }
    }

    /**
     * Writes a result as JSON.
     *
     * @param result what the handler returned
     * @param json how it is written
     * @param bytesMax how large it may be
     * @return the JSON
     * @throws ResultException it cannot be sent
     */
    public static byte[] writeResult(Object result, Json json, int bytesMax) throws ResultException {
        byte[] text;
        try {
            text = json.write(result);
        } catch (NotJsonException error) {
            throw new ResultException(
                    Failure.last(NOT_SERIALIZABLE, "the result cannot be sent: " + error.getMessage()));
        }
        if (text.length > bytesMax) {
            throw new ResultException(Failure.last(
                    TOO_LARGE, "the result is " + text.length + " bytes of JSON; at most " + bytesMax + " are taken"));
        }
        return text;
    }

    /**
     * Writes a failure.
     *
     * @param job whose it is
     * @param failure why
     * @return an entry
     */
    public static Outcome failed(Job job, Failure failure) {
        Map<String, Object> error = new LinkedHashMap<>();
        error.put("type", failure.type());
        error.put("message", failure.message());
        if (!failure.stack().isEmpty()) {
            error.put("stack", failure.stack());
        }
        if (!failure.isRetryable()) {
            error.put("retryable", false);
        }
        if (failure.retryAfter() != null) {
            error.put("retryAfter", failure.retryAfter());
        }
        String fields =
                ",\"status\":\"failed\",\"error\":" + new String(Json.writeKnown(error), StandardCharsets.UTF_8);
        return new Outcome(job, unfinished(job, fields), Outcome.Status.FAILED);
    }

    /**
     * Gives a job back unharmed: no attempt is counted and another worker gets it at once.
     *
     * @param job which
     * @return an entry
     */
    public static Outcome released(Job job) {
        return new Outcome(job, unfinished(job, ",\"status\":\"released\""), Outcome.Status.RELEASED);
    }

    /**
     * Says in the protocol's words what an exception of a handler means.
     *
     * @param error what it threw
     * @return the failure
     */
    public static Failure failureOf(Throwable error) {
        String type = error.getClass().getSimpleName();
        if (error instanceof NonRetryableException last) {
            type = last.type();
        } else if (type.isEmpty()) {
            type = error.getClass().getName();
        }
        Double after =
                error instanceof RetryLaterException later ? later.delay().toMillis() / 1000.0 : null;
        return new Failure(
                Json.cut(type, TYPE_BYTES_MAX),
                Json.cut(messageOf(error), MESSAGE_BYTES_MAX),
                Json.cut(stackOf(error), STACK_BYTES_MAX),
                !(error instanceof NonRetryableException),
                after);
    }

    /** Writes an entry with what the attempt said last: it is for the next one. */
    private static byte[] unfinished(Job job, String fields) {
        byte[] details = job.details();
        String head = job.resultHead() + fields;
        return details == null
                ? (head + "}").getBytes(StandardCharsets.UTF_8)
                : join(head + ",\"details\":", details, "}");
    }

    private static byte[] join(String head, byte[] middle, String tail) {
        ByteArrayOutputStream all = new ByteArrayOutputStream(head.length() + middle.length + tail.length());
        all.writeBytes(head.getBytes(StandardCharsets.UTF_8));
        all.writeBytes(middle);
        all.writeBytes(tail.getBytes(StandardCharsets.UTF_8));
        return all.toByteArray();
    }

    private static String messageOf(Throwable error) {
        try {
            return error.getMessage() == null ? "" : error.getMessage();
        } catch (RuntimeException second) {
            return "(its message cannot be had: " + second.getClass().getSimpleName() + ")";
        }
    }

    private static String stackOf(Throwable error) {
        try {
            StringWriter text = new StringWriter();
            error.printStackTrace(new PrintWriter(text, true));
            return OUR_FRAMES.matcher(text.toString()).replaceAll("");
        } catch (RuntimeException second) {
            return "(its stack cannot be had: " + second.getClass().getSimpleName() + ")";
        }
    }

    /** A result cannot be sent. */
    public static final class ResultException extends Exception {
        private static final long serialVersionUID = 1L;

        private final transient Failure failure;

        ResultException(Failure failure) {
            super(failure.message());
            this.failure = failure;
        }

        /**
         * Returns what is reported in its place.
         *
         * @return the failure
         */
        public Failure failure() {
            return failure;
        }
    }
}
