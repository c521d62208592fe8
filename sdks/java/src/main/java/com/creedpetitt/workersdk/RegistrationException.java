package com.creedpetitt.workersdk;

/** The orchestrator refused this worker. Trying again would not help: mend what the message says. */
public class RegistrationException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final String url;
    private final int status;
    private final String title;
    private final String detail;

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
        this.url = url;
        this.status = status;
        this.title = title;
        this.detail = detail;
    }

    /**
     * Returns who refused.
     *
     * @return an address without a password
     */
    public String url() {
        return url;
    }

    /**
     * Returns the HTTP status.
     *
     * @return the status
     */
    public int status() {
        return status;
    }

    /**
     * Returns what kind of error it is.
     *
     * @return the title
     */
    public String title() {
        return title;
    }

    /**
     * Returns what to mend.
     *
     * @return the detail; empty when there is none
     */
    public String detail() {
        return detail;
    }
}
