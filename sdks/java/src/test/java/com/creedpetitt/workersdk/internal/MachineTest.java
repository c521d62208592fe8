package com.creedpetitt.workersdk.internal;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

/** What a worker calls itself: nothing else runs while the language is another one. */
@Isolated
class MachineTest {
    @Test
    void aWorkersNameIsMadeOfTheProtocolsDigitsInEveryLanguage() {
        Locale usual = Locale.getDefault();
        Locale.setDefault(Locale.forLanguageTag("ar-EG-u-nu-arab"));
        try {
            String pid = Long.toString(ProcessHandle.current().pid());
            String id = Machine.makeWorkerId();
            assertTrue(id.matches("w-[A-Za-z0-9._-]{1,64}-" + pid + "-[0-9a-f]{6}"), id);
        } finally {
            Locale.setDefault(usual);
        }
    }
}
