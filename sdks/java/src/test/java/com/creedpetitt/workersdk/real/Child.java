package com.creedpetitt.workersdk.real;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;

/** A worker process, and what it wrote. */
final class Child implements AutoCloseable {
    private static final int WAIT_S = 40;

    final Process process;
    final List<String> lines = new CopyOnWriteArrayList<>();

    private Child(List<String> command, Path folder, Map<String, String> environment) {
        ProcessBuilder builder =
                new ProcessBuilder(command).directory(folder.toFile()).redirectErrorStream(true);
        builder.environment().remove("WORKFLOW_URL");
        builder.environment().putAll(environment);
        try {
            process = builder.start();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        Thread reader = new Thread(this::read);
        reader.setDaemon(true);
        reader.start();
    }

    /** Starts a class of the tests. */
    static Child java(String main, Map<String, String> environment, String... arguments) {
        String paths = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xmx128m",
                "-cp",
                paths,
                main));
        command.addAll(List.of(arguments));
        return new Child(command, Path.of("."), environment);
    }

    /** Starts a worker of the SDK for Python. */
    static Child python(String script, Map<String, String> environment) {
        String python =
                Installation.ROOT.resolve("sdks/python/.venv/bin/python").toString();
        return new Child(List.of(python, "-c", script), Installation.ROOT.resolve("sdks/python"), environment);
    }

    private void read() {
        try (BufferedReader out =
                new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = out.readLine(); line != null; line = out.readLine()) {
                lines.add(line);
            }
        } catch (IOException error) {
            lines.add("(nothing more can be read: " + error.getMessage() + ")");
        }
    }

    /** Returns when it has written a line with this text. */
    void says(String text) {
        Installation.until(
                "a line with '" + text + "' among " + lines,
                () -> lines.stream().anyMatch(line -> line.contains(text)) || !process.isAlive());
        if (lines.stream().noneMatch(line -> line.contains(text))) {
            throw new AssertionError("it ended without saying '" + text + "': " + lines);
        }
    }

    /** Writes a byte to it. */
    void nudge() {
        try {
            process.getOutputStream().write('\n');
            process.getOutputStream().flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Asks it to end. The process's own method would close what it writes to as well. */
    void askToEnd() {
        process.toHandle().destroy();
    }

    void kill() {
        process.toHandle().destroyForcibly();
        ends();
    }

    /** Asks it to end, and returns its exit code. */
    int terminate() {
        askToEnd();
        return ends();
    }

    int ends() {
        try {
            if (!process.waitFor(WAIT_S, TimeUnit.SECONDS)) {
                throw new AssertionError("it does not end: " + lines);
            }
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
        return process.exitValue();
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
