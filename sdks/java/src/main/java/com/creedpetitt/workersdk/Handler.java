package com.creedpetitt.workersdk;

/**
 * Does an action.
 *
 * @param <T> what it takes as the payload
 */
@FunctionalInterface
public interface Handler<T> {
    /**
     * Does one attempt.
     *
     * @param payload the run's input for the first step, the previous step's result after that; null when it is null
     * @return the step's result: whatever Jackson writes as JSON, or a {@link java.util.concurrent.CompletionStage} of it
     * @throws Exception the attempt has failed
     */
    Object handle(T payload) throws Exception;
}
