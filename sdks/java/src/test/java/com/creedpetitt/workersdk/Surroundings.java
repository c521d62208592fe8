package com.creedpetitt.workersdk;

import java.util.Map;

/** Workers that have variables of their own, as if each were a process. */
public final class Surroundings {
    private Surroundings() {}

    /** Returns the usual settings of a worker that has these variables and no others. */
    public static WorkerBuilder worker(Map<String, String> environment) {
        WorkerBuilder builder = Worker.builder();
        builder.environment = environment;
        return builder;
    }
}
