package com.creedpetitt.workersdk.testing;

import com.creedpetitt.workersdk.internal.work.Failure;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashSet;
import java.util.Set;

/** When a failed attempt is followed by another: what docs/rest-api.md says, without jitter. Delays in seconds. */
record RetryPolicy(int maxRetries, double delay, boolean isExponential, double maxDelay, Set<String> nonRetryable) {
    static final RetryPolicy USUAL = new RetryPolicy(3, 1, false, Double.POSITIVE_INFINITY, Set.of());

    private static final int DOUBLINGS_MAX = 62;

    /** Returns this policy with the fields that a definition's {@code retry} names replaced. */
    RetryPolicy refined(JsonNode given) {
        String backoff = given.path("backoff").asText(isExponential ? "exponential" : "fixed");
        if (!backoff.equals("fixed") && !backoff.equals("exponential")) {
            throw new IllegalArgumentException("backoff is \"fixed\" or \"exponential\", not \"" + backoff + "\"");
        }
        Set<String> types = nonRetryable;
        if (given.hasNonNull("nonRetryable")) {
            types = new HashSet<>();
            for (JsonNode type : given.get("nonRetryable")) {
                types.add(type.asText());
            }
        }
        return new RetryPolicy(
                given.path("maxRetries").asInt(maxRetries),
                given.hasNonNull("delay") ? Durations.seconds(given.get("delay")) : delay,
                backoff.equals("exponential"),
                given.hasNonNull("maxDelay") ? Durations.seconds(given.get("maxDelay")) : maxDelay,
                types);
    }

    /** Returns the seconds before the next attempt after so many failures; null when there is no next attempt. */
    Double nextDelay(Failure failure, int failures) {
        if (!failure.isRetryable() || failures > maxRetries || nonRetryable.contains(failure.type())) {
            return null;
        }
        if (failure.retryAfter() != null) {
            return failure.retryAfter();
        }
        double longest = isExponential ? delay * Math.pow(2, Math.min(failures - 1, DOUBLINGS_MAX)) : delay;
        return Math.min(longest, maxDelay);
    }
}
