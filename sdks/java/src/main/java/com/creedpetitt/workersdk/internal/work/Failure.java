package com.creedpetitt.workersdk.internal.work;

/**
 * Why an attempt failed, as it is reported.
 *
 * @param type what a retry policy is compared with
 * @param message for people
 * @param stack where it was thrown; may be empty
 * @param isRetryable whether another attempt could be better
 * @param retryAfter seconds until the next attempt; null leaves it to the policy
 */
public record Failure(String type, String message, String stack, boolean isRetryable, Double retryAfter) {
    /**
     * Makes one that no retry would mend.
     *
     * @param type what a retry policy is compared with
     * @param message for people
     * @return the failure
     */
    public static Failure last(String type, String message) {
        return new Failure(type, message, "", false, null);
    }
}
