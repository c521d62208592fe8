package com.creedpetitt.workersdk.internal.kafka;

import java.util.Locale;
import java.util.Map;

/**
 * The four topics that a worker and the orchestrator share.
 *
 * @param jobs what is to be done
 * @param results what came out
 * @param heartbeats signs of life
 * @param control what workers shall stop
 */
record Topics(String jobs, String results, String heartbeats, String control) {
    static final String PREFIX_VARIABLE = "WORKFLOW_KAFKA_PREFIX";

    /** Reads WORKFLOW_JOBS_TOPIC and the like; what they leave out has its usual name, after WORKFLOW_KAFKA_PREFIX. */
    static Topics of(Map<String, String> environment) {
        return new Topics(
                name(environment, "jobs"),
                name(environment, "results"),
                name(environment, "heartbeats"),
                name(environment, "control"));
    }

    private static String name(Map<String, String> environment, String what) {
        String named = environment.getOrDefault("WORKFLOW_" + what.toUpperCase(Locale.ROOT) + "_TOPIC", "");
        return named.isEmpty() ? environment.getOrDefault(PREFIX_VARIABLE, "") + "workflow-" + what : named;
    }
}
