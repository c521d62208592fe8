/**
 * What the orchestrator shows of workflows, runs, workers and dead letters.
 *
 * <p>Every record keeps the JSON that it was read from in {@code raw}: a field that this version does not know is there.
 */
package com.creedpetitt.workersdk.model;
