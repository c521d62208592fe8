package com.creedpetitt.workersdk.real;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.Surroundings;
import com.creedpetitt.workersdk.Worker;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A worker that is started in place of one that was killed lets the others of its groups go on meanwhile. */
class KafkaPredecessorsTest {
    /** Less than a session: so long the others would wait. */
    private static final Duration SOON = Duration.ofSeconds(4);

    private final Installation site = Installation.shared();
    private final Stage stage = new Stage(site.kafka);
    private final String suffix = UUID.randomUUID().toString().substring(0, 8);
    private final String action = "act-" + suffix;
    private final List<String> given = new ArrayList<>();

    @AfterEach
    void close() {
        stage.close();
    }

    private Worker worker(String id, Lines lines) {
        return Surroundings.worker(stage.environment)
                .workerId(id)
                .logger(lines)
                .kafka(Map.of("session.timeout.ms", 6_000, "heartbeat.interval.ms", 300))
                .build()
                .register(action, payload -> payload);
    }

    /** Returns who does a job of each partition. */
    private List<String> owners() {
        List<String> ids = new ArrayList<>();
        for (int partition = 0; partition < stage.partitions(); partition++) {
            ids.add(stage.giveTo(partition, action));
        }
        given.addAll(ids);
        return ids.stream()
                .map(id -> stage.resultOf(id).value().get("workerId").asText())
                .toList();
    }

    /** Returns who has each partition, once two have theirs: whoever had one while they shared it out may not have it now. */
    private List<String> ownersWhoAreTwo() {
        AtomicReference<List<String>> who = new AtomicReference<>(owners());
        Installation.until("two share the partitions", () -> {
            List<String> now = owners();
            return now.equals(who.getAndSet(now)) && new HashSet<>(now).size() == 2;
        });
        return who.get();
    }

    @Test
    void theOthersGoOnWhileAKilledWorkerIsStartedAgain() {
        Map<String, String> environment = new HashMap<>(stage.environment);
        environment.put(ChildWorker.LEASE, "PT30S");
        String survivor = "survivor-" + suffix;
        try (Child child = Child.java(ChildWorker.class.getName(), environment, action);
                Running running = new Running(worker(survivor, new Lines()), site.kafka)) {
            child.says("connected to");
            String childId = "w-child-" + child.process.pid();
            List<String> who = ownersWhoAreTwo();
            child.kill();
            given.clear(); // of those, what it did in the last tenth of a second is done again
            Lines lines = new Lines();
            try (Running successor = new Running(worker(childId, lines), site.kafka)) {
                Installation.until(
                        "it waits",
                        () -> lines.has("INFO waiting until the groups have noticed that " + childId + " is dead"));
                while (!lines.has("worker " + childId + " connected")) {
                    for (int partition = 0; partition < who.size(); partition++) {
                        if (who.get(partition).equals(survivor)) {
                            goOnAt(partition);
                        }
                    }
                }
                ownersWhoAreTwo();
            }
        }
        given.forEach(job -> assertEquals(1, stage.count(job)));
    }

    private void goOnAt(int partition) {
        long begun = System.nanoTime();
        String id = stage.giveTo(partition, action);
        given.add(id);
        stage.resultOf(id);
        assertTrue(System.nanoTime() - begun < SOON.toNanos(), "the others wait for the dead one");
    }
}
