package com.creedpetitt.workersdk;

import java.time.Duration;
import org.junit.jupiter.api.AfterEach;

/** A worker over HTTP, as an orchestrator sees it. */
abstract class HttpCase {
    final Gateway gateway = new Gateway();
    final Lines lines = new Lines();
    final Worker worker = worker().build();

    WorkerBuilder worker() {
        return Worker.builder().logger(lines).drainTimeout(Duration.ofSeconds(5));
    }

    Running running() {
        return new Running(worker, gateway.url());
    }

    @AfterEach
    void close() {
        gateway.close();
    }
}
