package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.work.Loop;
import java.util.Locale;
import org.slf4j.Logger;

/** The brokers are out of reach: told once when they are, and once when they are back. On the loop. */
final class Outage {
    private final String address;
    private final Logger logger;
    private double since;

    Outage(String address, Logger logger) {
        this.address = address;
        this.logger = logger;
    }

    /** A heartbeat has not been acknowledged for long. {@code when} it was sent, by the loop's clock. */
    void begin(double when, String reason) {
        if (since == 0) {
            since = when;
            logger.warn("lost {} ({}); retrying", address, reason);
        }
    }

    /** One has been acknowledged. */
    void end() {
        if (since > 0) {
            String seconds = String.format(Locale.ROOT, "%.1f", Loop.now() - since);
            logger.info("connected again to {} after {} s", address, seconds);
            since = 0;
        }
    }
}
