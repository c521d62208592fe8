package com.creedpetitt.workersdk;

/** The orchestrator refused this worker. Trying again would not help: mend what the message says. */
public class RegistrationException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final int status;

    /**
     * Makes one.
     *
     * @param url who refused
     * @param status the HTTP status
     * @param title what kind of error it is
     * @param detail what to mend
     */
    public RegistrationException(String url, int status, String title, String detail) {
        super(url + " refused this worker (" + status + " " + title + ")" + (detail.isEmpty() ? "" : ": " + detail));
        this.status = status;
    }

    /**
     * Returns the HTTP status.
     *
     * @return the status
     */
    public int status() {
        return status;
    }
}
