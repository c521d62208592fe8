package com.creedpetitt.workersdk.testing;

import com.creedpetitt.workersdk.Worker;
import com.creedpetitt.workersdk.model.DeadLetter;
import com.creedpetitt.workersdk.model.Run;
import java.time.Duration;
import java.time.Instant;

/**
 * A run in memory, with a worker's own handlers.
 *
 * <pre>{@code
 * SimulatedRun test = SimulatedRun.of(worker, List.of("reserve", "charge"), Map.of("id", 7));
 * assertEquals("COMPLETED", test.run().status());
 * assertEquals(2, test.run().steps().get(1).attempts().size());
 * assertEquals(Duration.ofSeconds(1), test.elapsed());
 * }</pre>
 *
 * <p>Retries follow the policies of the definition; their delays are not waited for but added to a clock of the run.
 * Between the steps every payload is written as JSON and read again, as on the way through an orchestrator. What this
 * leaves out: jitter, time-outs, leases, cancelling.
 *
 * @param run as a client would see it
 * @param elapsed on the run's own clock, which is the sum of the delays between attempts
 * @param deadLetter what people would find after a step has failed for good; null when none has
 */
public record SimulatedRun(Run run, Duration elapsed, DeadLetter deadLetter) {
    /**
     * Runs a workflow to its end. A run that fails is no error: look at its status.
     *
     * @param worker whose handlers are used; it is not started
     * @param definition a whole one (a map, a node, an object of a class), or a list of its steps: names of actions, or maps
     * @param input any JSON value
     * @return the run
     * @throws com.creedpetitt.workersdk.WorkflowException an action has no handler
     * @throws IllegalArgumentException the input is not JSON or the definition is not valid
     */
    public static SimulatedRun of(Worker worker, Object definition, Object input) {
        return of(worker, definition, input, Instant.now());
    }

    /**
     * Runs a workflow to its end, as if it began at some moment.
     *
     * @param worker whose handlers are used; it is not started
     * @param definition a whole one, or a list of its steps
     * @param input any JSON value
     * @param start when the run's clock begins
     * @return the run
     */
    public static SimulatedRun of(Worker worker, Object definition, Object input, Instant start) {
        return new Simulation(worker, definition, start).run(input);
    }
}
