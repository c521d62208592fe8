package com.creedpetitt.workersdk.testing;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads durations as definitions have them. */
final class Durations {
    private static final Map<String, Double> UNITS =
            Map.of("ms", 0.001, "s", 1.0, "m", 60.0, "h", 3_600.0, "d", 86_400.0);
    private static final Pattern DURATION = Pattern.compile("(\\d{1,15}(?:\\.\\d{1,6})?)\\s*(ms|s|m|h|d)?");

    private Durations() {}

    /** Returns seconds: of a number of seconds, or of a string such as "500ms", "30s", "5m", "2h". */
    static double seconds(JsonNode value) {
        if (value.isTextual()) {
            Matcher match = DURATION.matcher(value.asText().strip());
            if (match.matches()) {
                String unit = match.group(2) == null ? "s" : match.group(2);
                return Double.parseDouble(match.group(1)) * UNITS.get(unit);
            }
        } else if (value.isNumber() && value.asDouble() >= 0) {
            return value.asDouble();
        }
        throw new IllegalArgumentException(
                "a duration is a number of seconds or a string such as \"500ms\", \"30s\", \"5m\", not " + value);
    }
}
