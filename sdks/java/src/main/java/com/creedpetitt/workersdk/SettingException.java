package com.creedpetitt.workersdk;

/** A setting of the program or of the environment cannot be used. The message names it, never a secret. */
public class SettingException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what is wrong
     */
    public SettingException(String message) {
        super(message);
    }
}
