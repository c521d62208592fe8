package com.creedpetitt.workersdk.internal.work;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** Every job that was taken and has no result yet, also those that were told to stop and still run. On the loop. */
public final class JobsInHand {
    private record Key(String id, int attempt) {}

    private final Map<Key, Job> jobs = new LinkedHashMap<>();
    private int alone;
    private CompletableFuture<Void> emptied = new CompletableFuture<>();

    /**
     * Returns how many there are.
     *
     * @return a number
     */
    public int size() {
        return jobs.size();
    }

    /**
     * Returns all of them.
     *
     * @return a copy
     */
    public List<Job> all() {
        return List.copyOf(jobs.values());
    }

    /**
     * Takes one into hand.
     *
     * @param job a new one
     */
    public void add(Job job) {
        jobs.put(new Key(job.id(), job.attempt()), job);
        if (job.isAlone()) {
            alone++;
        }
    }

    /**
     * Takes one out; one that is not there any more is left alone.
     *
     * @param job which
     */
    public void remove(Job job) {
        if (jobs.remove(new Key(job.id(), job.attempt()), job) && job.isAlone()) {
            alone--;
        }
        if (jobs.isEmpty()) {
            emptied.complete(null);
        }
    }

    /**
     * Tells whether one is here that must have no neighbours.
     *
     * @return true while it is
     */
    public boolean hasAlone() {
        return alone > 0;
    }

    /**
     * Tells whether this very one is here.
     *
     * @param job which
     * @return false once it was taken out
     */
    public boolean holds(Job job) {
        return jobs.get(new Key(job.id(), job.attempt())) == job;
    }

    /**
     * Finds an attempt.
     *
     * @param reference an object with {@code jobId} and {@code attempt}
     * @return the job; null when it is not here
     */
    public Job find(JsonNode reference) {
        return jobs.get(new Key(
                reference.path("jobId").asText(), reference.path("attempt").asInt()));
    }

    /**
     * Finds attempts.
     *
     * @param references objects with {@code jobId} and {@code attempt}
     * @return those that are here
     */
    public List<Job> findAll(Iterable<JsonNode> references) {
        List<Job> found = new ArrayList<>();
        for (JsonNode reference : references) {
            Job job = find(reference);
            if (job != null) {
                found.add(job);
            }
        }
        return found;
    }

    /**
     * Returns the shortest heartbeat time-out of all.
     *
     * @return seconds; infinity when none has one
     */
    public double heartbeatTimeoutMin() {
        double shortest = Double.POSITIVE_INFINITY;
        for (Job job : jobs.values()) {
            if (job.heartbeatTimeout() > 0) {
                shortest = Math.min(shortest, job.heartbeatTimeout());
            }
        }
        return shortest;
    }

    /** Returns what is done once there is none. */
    CompletableFuture<Void> empty() {
        emptied = new CompletableFuture<>();
        if (jobs.isEmpty()) {
            emptied.complete(null);
        }
        return emptied;
    }
}
