package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.model.Run;
import java.time.Duration;

/** The run had not ended when the time was over. It goes on; {@link #run} is how it stood. */
public class WaitTimeoutException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final transient Run run;
    private final Duration timeout;

    /**
     * Makes one.
     *
     * @param run how it stood
     * @param timeout how long was waited
     */
    public WaitTimeoutException(Run run, Duration timeout) {
        super("run " + run.runId() + " is " + run.status() + " after " + timeout.toMillis() / 1000.0 + " s"
                + (run.waitingFor() == null ? "" : ": " + run.waitingFor()));
        this.run = run;
        this.timeout = timeout;
    }

    /**
     * Returns the run as it stood.
     *
     * @return the run
     */
    public Run run() {
        return run;
    }

    /**
     * Returns how long was waited.
     *
     * @return the time
     */
    public Duration timeout() {
        return timeout;
    }
}
