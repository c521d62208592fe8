package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.SettingException;
import java.time.Duration;
import java.util.Map;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Opens clients of Kafka. */
final class Clients {
    private Clients() {}

    /** No broker's name can be looked up: not a fault of a setting, it may come. */
    static final class NoSuchHostException extends Exception {
        private static final long serialVersionUID = 1L;

        NoSuchHostException(String message) {
            super(message);
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> config) throws NoSuchHostException {
        return open(() -> new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer()));
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> config) throws NoSuchHostException {
        return open(() -> new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer()));
    }

    static Admin admin(Map<String, Object> config) throws NoSuchHostException {
        return open(() -> Admin.create(config));
    }

    /** What a worker needs, once it is there. */
    record Opened(
            Sender sender,
            Control control,
            KafkaConsumer<byte[], byte[]> reader,
            Map<String, KafkaConsumer<byte[], byte[]>> groups) {
        /** Closes what is there. Nothing was begun with it. */
        void close() {
            if (sender != null) {
                sender.close();
            }
            if (control != null) {
                control.close();
            }
            if (reader != null) {
                reader.close(CloseOptions.timeout(Duration.ZERO));
            }
            groups.values().forEach(consumer -> consumer.close(CloseOptions.timeout(Duration.ZERO)));
        }
    }

    private static <T> T open(Supplier<T> make) throws NoSuchHostException {
        try {
            return make.get();
        } catch (KafkaException error) {
            Throwable reason = error.getCause() == null ? error : error.getCause();
            String message = String.valueOf(reason.getMessage());
            if (reason instanceof ConfigException && message.contains("resolvable")) {
                throw new NoSuchHostException("the name of the host is not known");
            }
            throw new SettingException("Kafka does not take these settings: " + message);
        }
    }
}
