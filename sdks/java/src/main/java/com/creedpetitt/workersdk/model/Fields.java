package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/** Reads fields of an object that may leave them out. */
final class Fields {
    private Fields() {}

    static String text(JsonNode raw, String name) {
        return raw.path(name).asText("");
    }

    static String textOrNull(JsonNode raw, String name) {
        return raw.hasNonNull(name) ? raw.get(name).asText() : null;
    }

    static Integer numberOrNull(JsonNode raw, String name) {
        return raw.hasNonNull(name) ? raw.get(name).asInt() : null;
    }

    static Instant timeOrNull(JsonNode raw, String name) {
        try {
            return raw.path(name).isTextual() ? Instant.parse(raw.get(name).asText()) : null;
        } catch (DateTimeParseException error) {
            return null;
        }
    }

    static ErrorInfo errorOrNull(JsonNode raw) {
        return raw.path("error").isObject() ? ErrorInfo.of(raw.get("error")) : null;
    }

    static <T> List<T> list(JsonNode raw, String name, Function<JsonNode, T> read) {
        List<T> all = new ArrayList<>();
        raw.path(name).forEach(one -> all.add(read.apply(one)));
        return List.copyOf(all);
    }
}
