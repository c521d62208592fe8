package com.creedpetitt.workersdk;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.creedpetitt.workersdk.internal.Address;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Where a worker finds out where to connect to. */
class AddressTest {
    private static final String DEFAULT = "kafka:9092";
    private static final String HTTP = "http://me:secret@o:8080";

    private final Lines lines = new Lines();

    @Test
    void theProgramWinsOverTheEnvironment() {
        Map<String, String> both = Map.of("WORKFLOW_URL", HTTP, "KAFKA_BOOTSTRAP_SERVERS", "b:1");
        assertEquals(HTTP, Address.ofWorker(null, both, lines));
        assertEquals("b:1", Address.ofWorker("", Map.of("KAFKA_BOOTSTRAP_SERVERS", "b:1"), lines));
        assertEquals(DEFAULT, Address.ofWorker(null, Map.of(), lines));
        for (String chosen : List.of("c:1", "kafka:9093", "kafka://kafka:9092", "kafka:9092,c:1", "http://here:8080")) {
            assertEquals(chosen, Address.ofWorker(chosen, both, lines));
        }
        assertEquals(List.of(), lines.all);
    }

    @Test
    void theAddressOfTheDocumentationGivesWayToTheEnvironmentAndTheLogSaysSo() {
        assertEquals(DEFAULT, Address.ofWorker(DEFAULT, Map.of(), lines));
        assertEquals(DEFAULT, Address.ofWorker(DEFAULT, Map.of("WORKFLOW_URL", DEFAULT), lines));
        assertEquals(List.of(), lines.all);
        assertEquals(HTTP, Address.ofWorker(" kafka:9092 ", Map.of("WORKFLOW_URL", HTTP), lines));
        String told =
                "INFO kafka:9092 in the program is the documentation's example: the address is that of WORKFLOW_URL";
        assertEquals(List.of(told), lines.all);
    }
}
