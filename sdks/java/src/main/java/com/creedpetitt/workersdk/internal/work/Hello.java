package com.creedpetitt.workersdk.internal.work;

import java.util.List;

/**
 * What a worker says about itself.
 *
 * @param workerId a name of this process's own
 * @param actions what it has handlers for
 * @param sdk the name of this library
 * @param version its version
 * @param host where it runs
 * @param pid the process
 * @param concurrency how many jobs at once
 * @param lease seconds that a job stays here without a sign of life; null leaves it to the orchestrator
 */
public record Hello(
        String workerId,
        List<String> actions,
        String sdk,
        String version,
        String host,
        long pid,
        int concurrency,
        Double lease) {}
