package com.creedpetitt.workersdk;

/** No answer from the orchestrator, after the retries that are safe for the call. */
public class ConnectionFailedException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final String url;
    private final String reason;

    /**
     * Makes one.
     *
     * @param url where nobody answers
     * @param reason why
     * @param cause what it came from
     */
    public ConnectionFailedException(String url, String reason, Throwable cause) {
        super(
                "no answer from the orchestrator at " + url + " (" + reason + "). Is it running there? Give its address"
                        + " with new WorkflowClient(url) or the environment variable WORKFLOW_URL",
                cause);
        this.url = url;
        this.reason = reason;
    }

    /**
     * Returns where nobody answers.
     *
     * @return an address without a password
     */
    public String url() {
        return url;
    }

    /**
     * Returns why.
     *
     * @return a few words
     */
    public String reason() {
        return reason;
    }
}
