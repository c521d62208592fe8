package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Hello;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes the heartbeats of one worker. */
final class BeatWriter {
    private final String head;

    /** {@code lease} in seconds; {@code presence}, the most of them between two heartbeats; {@code group} may be null. */
    BeatWriter(Hello hello, String group, double lease, double presence) {
        Map<String, Object> about = new LinkedHashMap<>();
        about.put("workerId", hello.workerId());
        about.put("sdk", hello.sdk());
        about.put("version", hello.version());
        about.put("host", hello.host());
        about.put("pid", hello.pid());
        about.put("actions", hello.actions());
        if (group != null && !group.isEmpty()) {
            about.put("group", group);
        }
        about.put("concurrency", hello.concurrency());
        about.put("lease", lease);
        about.put("heartbeat", presence);
        String text = new String(Json.writeKnown(about), StandardCharsets.UTF_8);
        head = text.substring(0, text.length() - 1);
    }

    /** Writes one heartbeat. {@code capacity}: how many more jobs could start now. */
    byte[] write(List<byte[]> inFlight, int capacity, boolean isLeaving) {
        ByteArrayOutputStream value = new ByteArrayOutputStream();
        String about = head + ",\"capacity\":" + capacity + ",\"leaving\":" + isLeaving + ",\"inFlight\":[";
        value.writeBytes(about.getBytes(StandardCharsets.UTF_8));
        for (int place = 0; place < inFlight.size(); place++) {
            if (place > 0) {
                value.write(',');
            }
            value.writeBytes(inFlight.get(place));
        }
        value.write(']');
        value.write('}');
        return value.toByteArray();
    }
}
