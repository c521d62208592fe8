package com.creedpetitt.workersdk.real;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.Worker;
import java.util.UUID;
import org.junit.jupiter.api.Test;

/** A worker on its way to brokers that are not there. */
class KafkaArrivalTest {
    @Test
    void whoIsToldToLeaveBeforeItIsConnectedLeavesNothingBehind() {
        String id = "nowhere-" + UUID.randomUUID();
        Lines lines = new Lines();
        Worker worker = Worker.builder().workerId(id).logger(lines).build().register("act", payload -> payload);
        Running running = new Running(worker, "127.0.0.1:1");
        Installation.until("it is told", () -> lines.has("WARN cannot reach kafka://127.0.0.1:1"));
        worker.stop();
        running.ends();
        Installation.until(
                "its clients are closed",
                () -> Thread.getAllStackTraces().keySet().stream()
                        .noneMatch(thread -> thread.getName().contains(id)
                                || thread.getName().equals("workersdk-connect")));
    }
}
