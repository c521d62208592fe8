package com.creedpetitt.workersdk.model;

import java.util.List;

/**
 * Which runs to list: {@code RunQuery.all().status("FAILED").workflow("order").limit(20)}.
 *
 * @param statuses one of these; empty for any
 * @param workflow a workflow's id; null for any
 * @param limit stop after so many; null for no end
 */
public record RunQuery(List<String> statuses, String workflow, Integer limit) {
    /**
     * Asks for every run.
     *
     * @return a query without conditions
     */
    public static RunQuery all() {
        return new RunQuery(List.of(), null, null);
    }

    /**
     * Asks for runs with one of these states.
     *
     * @param names such as FAILED
     * @return a new query
     */
    public RunQuery status(String... names) {
        return new RunQuery(List.of(names), workflow, limit);
    }

    /**
     * Asks for runs of a workflow.
     *
     * @param id the workflow's id
     * @return a new query
     */
    public RunQuery workflow(String id) {
        return new RunQuery(statuses, id, limit);
    }

    /**
     * Asks for so many runs.
     *
     * @param count at most
     * @return a new query
     */
    public RunQuery limit(int count) {
        return new RunQuery(statuses, workflow, count);
    }
}
