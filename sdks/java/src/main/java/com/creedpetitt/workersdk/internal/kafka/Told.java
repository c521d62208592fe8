package com.creedpetitt.workersdk.internal.kafka;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.slf4j.Logger;

/** Says once, for each kind of error, that something does not work; whoever meets it goes on trying by itself. */
final class Told {
    private final Logger logger;
    private final Set<String> told = ConcurrentHashMap.newKeySet();

    Told(Logger logger) {
        this.logger = logger;
    }

    void tell(String what, Exception error) {
        if (told.add(what + error.getClass().getName())) {
            logger.warn("{}: {}", what, error.getMessage());
        } else {
            logger.debug("{}: {}", what, error.getMessage());
        }
    }
}
