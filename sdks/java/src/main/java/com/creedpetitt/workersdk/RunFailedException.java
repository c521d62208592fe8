package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.model.ErrorInfo;
import com.creedpetitt.workersdk.model.Run;

/** The run ended without a final output. */
public class RunFailedException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final transient Run run;

    /**
     * Makes one.
     *
     * @param run the whole run
     */
    public RunFailedException(Run run) {
        super("run " + run.runId() + " of " + run.workflowId() + " is " + run.status() + cause(run.error()));
        this.run = run;
    }

    private static String cause(ErrorInfo error) {
        return error == null ? "" : ": " + error.type() + ": " + error.message();
    }

    /**
     * Returns the whole run; its {@code error()} is what its last attempt said.
     *
     * @return the run
     */
    public Run run() {
        return run;
    }
}
