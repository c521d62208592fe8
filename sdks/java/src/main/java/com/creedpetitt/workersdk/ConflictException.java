package com.creedpetitt.workersdk;

import java.util.List;
import java.util.Map;

/** The world has moved on: a run that has ended cannot be cancelled, for example (409). */
public class ConflictException extends ApiException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param status the HTTP status
     * @param code the machine's name of the error
     * @param title the short form for people
     * @param detail the long form; may be empty
     * @param errors what is wrong field by field
     */
    public ConflictException(int status, String code, String title, String detail, List<Map<String, String>> errors) {
        super(status, code, title, detail, errors);
    }
}
