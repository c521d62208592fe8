package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.work.Outcome;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/** A queue from which a call takes as many results as it may carry, and to which they return when it is lost. */
final class Outbox {
    private static final int RESULTS_MAX = 1_000;
    private static final int ENVELOPE_BYTES = 1_024;

    int requestBytesMax = Terms.USUAL.requestBytesMax();

    private final Deque<Outcome> waiting = new ArrayDeque<>();
    private int resultsMax = RESULTS_MAX;

    boolean isEmpty() {
        return waiting.isEmpty();
    }

    int size() {
        return waiting.size();
    }

    List<Outcome> all() {
        return List.copyOf(waiting);
    }

    void add(List<Outcome> outcomes) {
        waiting.addAll(outcomes);
    }

    /** Takes what the next call carries: at least one result if there is any, however large it is. */
    List<Outcome> take() {
        List<Outcome> batch = new ArrayList<>();
        long room = (long) requestBytesMax - ENVELOPE_BYTES;
        while (!waiting.isEmpty() && batch.size() < resultsMax) {
            room -= waiting.peekFirst().body().length + 1;
            if (room < 0 && !batch.isEmpty()) {
                break;
            }
            batch.add(waiting.pollFirst());
        }
        return batch;
    }

    /** Takes back what a lost call carried: it goes first again. */
    void putBack(List<Outcome> batch) {
        for (int place = batch.size() - 1; place >= 0; place--) {
            waiting.addFirst(batch.get(place));
        }
    }

    /** A call with so many results was too much: carry at most half of them from now on. */
    void carryFewer(int than) {
        resultsMax = Math.max(1, than / 2);
    }

    /** A call came through: come back to full calls, by doubling. */
    void carryMore() {
        resultsMax = Math.min(RESULTS_MAX, resultsMax * 2);
    }
}
