package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.List;
import java.util.Set;

/**
 * A run of a workflow. In a list of runs {@code steps} and {@code waitingFor} are empty.
 *
 * @param runId its id
 * @param workflowId what it is a run of
 * @param status RUNNING WAITING COMPLETED FAILED CANCELLED TIMED_OUT
 * @param workflowVersion which version of it
 * @param currentStep where it is
 * @param startTime when it was started; or null
 * @param endTime when it ended; or null
 * @param input what it was started with
 * @param finalOutput what its last step returned; a missing node when there is none
 * @param error why it failed; or null
 * @param stepResults what its steps returned
 * @param steps its steps by place
 * @param waitingFor what it waits for, in words; or null
 * @param raw the JSON that it was read from
 */
public record Run(
        String runId,
        String workflowId,
        String status,
        int workflowVersion,
        int currentStep,
        Instant startTime,
        Instant endTime,
        JsonNode input,
        JsonNode finalOutput,
        ErrorInfo error,
        List<StepResult> stepResults,
        List<Step> steps,
        String waitingFor,
        JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static Run of(JsonNode raw) {
        return new Run(
                Fields.text(raw, "runId"),
                Fields.text(raw, "workflowId"),
                Fields.text(raw, "status"),
                raw.path("workflowVersion").asInt(),
                raw.path("currentStep").asInt(),
                Fields.timeOrNull(raw, "startTime"),
                Fields.timeOrNull(raw, "endTime"),
                raw.path("input"),
                raw.path("finalOutput"),
                Fields.errorOrNull(raw),
                Fields.list(raw, "stepResults", StepResult::of),
                Fields.list(raw, "steps", Step::of),
                Fields.textOrNull(raw, "waitingFor"),
                raw);
    }

    private static final Set<String> ENDED = Set.of("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT");

    /**
     * Tells whether nothing changes this run any more, but for the redrive of a dead letter.
     *
     * @return true when it has ended
     */
    public boolean isEnded() {
        return ENDED.contains(status);
    }
}
