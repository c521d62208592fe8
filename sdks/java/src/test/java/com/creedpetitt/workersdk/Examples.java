package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.internal.json.Json;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** What {@code protocol/examples} says travels. */
public final class Examples {
    private static final Path FOLDER = Path.of("..", "..", "protocol", "examples");

    private Examples() {}

    /** Returns a record of Kafka: its key, headers and value. */
    public static JsonNode ofRecord(String name) {
        return read("records", name);
    }

    /** Returns the body of a call over HTTP, or of its answer. */
    public static byte[] ofBody(String name) {
        return read("http", name).get("body").asText().getBytes(StandardCharsets.UTF_8);
    }

    private static JsonNode read(String folder, String name) {
        try {
            return Json.read(Files.readAllBytes(FOLDER.resolve(folder).resolve(name + ".json")));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
