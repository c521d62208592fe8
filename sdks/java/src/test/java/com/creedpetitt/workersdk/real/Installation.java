package com.creedpetitt.workersdk.real;

import com.creedpetitt.workersdk.WorkflowClient;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Comparator;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Assumptions;

/** The real Kafka and PostgreSQL and an orchestrator on them, started with the first test that asks, for all of them. */
final class Installation {
    static final Path ROOT = Path.of("..", "..").toAbsolutePath().normalize();

    private static final long WAIT_NS = 60_000_000_000L;

    private static Installation shared;

    final String kafka;
    final String url;
    final WorkflowClient client;

    private final Process process;
    private final BufferedReader out;

    private Installation(Process process, BufferedReader out, String kafka, String url) {
        this.process = process;
        this.out = out;
        this.kafka = kafka;
        this.url = url;
        this.client = new WorkflowClient(url);
    }

    static synchronized Installation shared() {
        if (shared == null) {
            Assumptions.assumeTrue(
                    Files.isDirectory(ROOT.resolve("stack")),
                    "outside of the repository there is nothing that starts a broker");
            shared = start();
        }
        return shared;
    }

    private static Installation start() {
        try {
            // PostgreSQL runs as another user, who has to get there.
            Path folder = Files.createTempDirectory(
                    "workersdk-java",
                    PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwxr-xr-x")));
            Process process = new ProcessBuilder(
                            ROOT.resolve("orchestrator/.venv/bin/python").toString(),
                            "-m",
                            "stack.installation",
                            folder.toString())
                    .directory(ROOT.toFile())
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(process, folder)));
            BufferedReader out =
                    new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
            String line = out.readLine();
            if (line == null) {
                throw new AssertionError("the installation did not start");
            }
            JsonNode places = new ObjectMapper().readTree(line);
            return new Installation(
                    process,
                    out,
                    places.get("kafka").asText(),
                    places.get("url").asText());
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Does something to the broker: start, stop, kill, pause, resume. */
    void broker(String verb) {
        try {
            process.getOutputStream().write((verb + "\n").getBytes(StandardCharsets.UTF_8));
            process.getOutputStream().flush();
            if (!verb.equals(out.readLine())) {
                throw new AssertionError("the broker does not " + verb);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void stop(Process process, Path folder) {
        try {
            process.getOutputStream().close(); // it stops by itself when nobody is there any more
            process.waitFor();
            try (var files = Files.walk(folder)) {
                files.sorted(Comparator.reverseOrder())
                        .forEach(file -> file.toFile().delete());
            }
        } catch (IOException | InterruptedException error) {
            process.destroy();
        }
    }

    /** Returns when a condition holds; fails when it does not in time. */
    static void until(String what, BooleanSupplier condition) {
        long end = System.nanoTime() + WAIT_NS;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("did not come true: " + what);
            }
            try {
                Thread.sleep(5); // between two looks at what has no other way to tell
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
        }
    }
}
