package com.creedpetitt.workersdk;

/**
 * Does an action, and knows about the attempt.
 *
 * @param <T> what it takes as the payload
 */
@FunctionalInterface
public interface ContextHandler<T> {
    /**
     * Does one attempt.
     *
     * @param payload the run's input for the first step, the previous step's result after that; null when it is null
     * @param context what is known of the attempt, and what can be said about it
     * @return the step's result: whatever Jackson writes as JSON, or a {@link java.util.concurrent.CompletionStage} of it
     * @throws Exception the attempt has failed
     */
    Object handle(T payload, Context context) throws Exception;
}
