package com.creedpetitt.workersdk;

import java.util.List;
import java.util.Map;

/** The orchestrator answered with an error (application/problem+json, RFC 9457). */
public class ApiException extends WorkflowException {
    private static final long serialVersionUID = 1L;

    private final int status;
    private final String code;
    private final String title;
    private final String detail;
    private final transient List<Map<String, String>> errors;

    /**
     * Makes one.
     *
     * @param status the HTTP status
     * @param code the machine's name of the error
     * @param title the short form for people
     * @param detail the long form; may be empty
     * @param errors what is wrong field by field, each with {@code field}, {@code reason} and sometimes {@code mend}
     */
    public ApiException(int status, String code, String title, String detail, List<Map<String, String>> errors) {
        super(write(status, code, title, detail, errors));
        this.status = status;
        this.code = code;
        this.title = title;
        this.detail = detail;
        this.errors = List.copyOf(errors);
    }

    private static String write(
            int status, String code, String title, String detail, List<Map<String, String>> errors) {
        StringBuilder text = new StringBuilder().append(status).append(' ').append(title);
        if (!code.isEmpty()) {
            text.append(" (").append(code).append(')');
        }
        if (!detail.isEmpty()) {
            text.append(": ").append(detail);
        }
        for (Map<String, String> error : errors) {
            text.append("\n  ").append(error.getOrDefault("field", ""));
            text.append(": ").append(error.getOrDefault("reason", ""));
            if (error.containsKey("mend")) {
                text.append(" (").append(error.get("mend")).append(')');
            }
        }
        return text.toString();
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
     * Returns the machine's name of the error, such as {@code run-not-found}.
     *
     * @return the code; empty when there is none
     */
    public String code() {
        return code;
    }

    /**
     * Returns the short form for people.
     *
     * @return the title
     */
    public String title() {
        return title;
    }

    /**
     * Returns the long form for people.
     *
     * @return the detail; empty when there is none
     */
    public String detail() {
        return detail;
    }

    /**
     * Returns what is wrong field by field.
     *
     * @return objects with {@code field}, {@code reason} and sometimes {@code mend}
     */
    public List<Map<String, String>> errors() {
        return errors == null ? List.of() : errors;
    }
}
