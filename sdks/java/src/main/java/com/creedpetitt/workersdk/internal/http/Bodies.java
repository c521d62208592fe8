package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Outcome;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a worker says over HTTP, as bytes: docs/worker-protocol.md says what the fields mean. */
final class Bodies {
    private Bodies() {}

    static byte[] registration(Hello hello) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("workerId", hello.workerId());
        body.put("actions", hello.actions());
        body.put("sdk", hello.sdk());
        body.put("version", hello.version());
        body.put("host", hello.host());
        body.put("pid", hello.pid());
        body.put("concurrency", hello.concurrency());
        if (hello.lease() != null) {
            body.put("lease", hello.lease());
        }
        return Json.writeKnown(body);
    }

    /** Results, and the wish for up to so many jobs; the first may take so many seconds. */
    static byte[] exchange(List<Outcome> results, int capacity, double wait) {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        body.write('{');
        if (!results.isEmpty()) {
            write(body, "\"results\":");
            writeArray(body, results.stream().map(Outcome::body).toList());
            body.write(',');
        }
        write(body, "\"capacity\":" + capacity + (wait > 0 ? ",\"wait\":" + number(wait) : "") + "}");
        return body.toByteArray();
    }

    /** The jobs in hand. */
    static byte[] heartbeat(List<byte[]> inFlight) {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        write(body, "{\"inFlight\":");
        writeArray(body, inFlight);
        body.write('}');
        return body.toByteArray();
    }

    private static String number(double seconds) {
        return seconds == Math.rint(seconds) ? Long.toString((long) seconds) : Double.toString(seconds);
    }

    private static void write(ByteArrayOutputStream body, String text) {
        body.writeBytes(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void writeArray(ByteArrayOutputStream body, List<byte[]> entries) {
        body.write('[');
        for (int place = 0; place < entries.size(); place++) {
            if (place > 0) {
                body.write(',');
            }
            body.writeBytes(entries.get(place));
        }
        body.write(']');
    }
}
