package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.SettingException;
import java.util.Map;
import java.util.function.Supplier;
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
