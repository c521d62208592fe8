package com.creedpetitt.workersdk.internal.json;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON as it travels: exact, strict, and with a place in every complaint.
 *
 * <p>Rule 1: what leaves is JSON that every reader understands; NaN, Infinity and lone surrogates are not.
 *
 * <p>Rule 2: numbers keep all their digits while they are nodes, integers also when they become Java's own values.
 */
public final class Json {
    /** Digits of one number: more than any reader takes by default. */
    private static final int DIGITS_MAX = 10_000;

    private static final JsonMapper USUAL = JsonMapper.builder()
            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
            .build();
    private static final ObjectReader TREES =
            USUAL.readerFor(JsonNode.class).with(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS);

    static {
        USUAL.getFactory()
                .setStreamReadConstraints(StreamReadConstraints.builder()
                        .maxNumberLength(DIGITS_MAX)
                        .maxStringLength(Integer.MAX_VALUE)
                        .maxNameLength(Integer.MAX_VALUE)
                        .build());
    }

    private static final Json DEFAULT = new Json(USUAL);

    private final ObjectMapper mapper;

    /**
     * Writes and reads the user's own values with a mapper.
     *
     * @param mapper how classes become JSON; null for the usual way
     */
    public Json(ObjectMapper mapper) {
        this.mapper = mapper == null ? USUAL : mapper;
    }

    /**
     * Returns the one with the usual mapper.
     *
     * @return a shared instance
     */
    public static Json usual() {
        return DEFAULT;
    }

    /**
     * Returns the mapper.
     *
     * @return the mapper
     */
    public ObjectMapper mapper() {
        return mapper;
    }

    /**
     * Reads JSON.
     *
     * @param text UTF-8
     * @return what it says
     * @throws IOException it is not JSON
     */
    public static JsonNode read(byte[] text) throws IOException {
        JsonNode node;
        try {
            node = TREES.readTree(text);
        } catch (JsonProcessingException error) {
            throw new IOException(error.getOriginalMessage(), error); // without the place in a source that nobody sees
        }
        if (node.isMissingNode()) {
            throw new IOException("it is empty");
        }
        return node;
    }

    /**
     * Reads an error of the orchestrator (RFC 9457); of anything else, as from a proxy, nothing is read.
     *
     * @param text what came
     * @return an object
     */
    public static JsonNode readProblem(byte[] text) {
        try {
            JsonNode problem = read(text);
            return problem.isObject() ? problem : USUAL.createObjectNode();
        } catch (IOException error) {
            return USUAL.createObjectNode();
        }
    }

    /**
     * Writes a string.
     *
     * @param text what it holds
     * @return JSON with its quotes
     */
    public static String quote(String text) {
        try {
            return USUAL.writeValueAsString(text);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException(error);
        }
    }

    /**
     * Writes a value as compact UTF-8 JSON.
     *
     * @param value anything that the mapper knows
     * @return the JSON
     * @throws NotJsonException it cannot be written
     */
    public byte[] write(Object value) throws NotJsonException {
        ByteArrayOutputStream text = new ByteArrayOutputStream(256);
        try (StrictGenerator generator = new StrictGenerator(mapper.getFactory().createGenerator(text))) {
            // Characters outside of the first plane as themselves, as everybody else writes them.
            generator.enable(JsonGenerator.Feature.COMBINE_UNICODE_SURROGATES_IN_UTF8);
            mapper.writeValue(generator, value);
        } catch (StrictGenerator.NotFiniteException error) {
            throw new NotJsonException(error.getOriginalMessage());
        } catch (JsonMappingException error) {
            throw new NotJsonException(faultOf(error));
        } catch (JacksonException error) {
            throw new NotJsonException("$: " + error.getOriginalMessage());
        } catch (IOException | RuntimeException error) {
            throw new NotJsonException("$: " + error);
        } catch (StackOverflowError error) {
            throw new NotJsonException("$: is nested too deep, or holds itself");
        }
        return text.toByteArray();
    }

    /**
     * Writes what is known to be writable.
     *
     * @param value maps, lists, strings, numbers
     * @return the JSON
     */
    public static byte[] writeKnown(Object value) {
        try {
            return DEFAULT.write(value);
        } catch (NotJsonException error) {
            throw new IllegalArgumentException(error.getMessage(), error);
        }
    }

    /**
     * Reads a node as a type.
     *
     * @param node what came
     * @param type what is wanted
     * @return a value; null for null
     * @throws IOException it is something else
     */
    public Object as(JsonNode node, JavaType type) throws IOException {
        if (type.hasRawClass(JsonNode.class)) {
            return node;
        }
        return node.isNull() || node.isMissingNode() ? null : mapper.treeToValue(node, type);
    }

    /**
     * Reads a node as Java's own values.
     *
     * @param node what came
     * @return a map, a list, a string, an Integer, Long or BigInteger, a Double, a Boolean, or null
     */
    public static Object natural(JsonNode node) {
        if (node.isObject()) {
            Map<String, Object> map = new LinkedHashMap<>();
            node.properties().forEach(entry -> map.put(entry.getKey(), natural(entry.getValue())));
            return map;
        }
        if (node.isArray()) {
            List<Object> list = new ArrayList<>(node.size());
            node.forEach(entry -> list.add(natural(entry)));
            return list;
        }
        if (node.isIntegralNumber()) {
            return node.numberValue();
        }
        if (node.isNumber()) {
            return node.doubleValue();
        }
        if (node.isBoolean()) {
            return node.booleanValue();
        }
        return node.isTextual() ? node.textValue() : null;
    }

    /**
     * Cuts a text, so that its UTF-8 is no longer than a limit.
     *
     * @param text any
     * @param bytesMax the limit
     * @return the text, or its beginning and an ellipsis
     */
    public static String cut(String text, int bytesMax) {
        byte[] whole = text.getBytes(StandardCharsets.UTF_8);
        if (whole.length <= bytesMax) {
            return new String(whole, StandardCharsets.UTF_8);
        }
        int end = bytesMax - 3;
        while (end > 0 && (whole[end] & 0xC0) == 0x80) {
            end--;
        }
        return new String(whole, 0, end, StandardCharsets.UTF_8) + "…";
    }

    private static String faultOf(JsonMappingException error) {
        if (error.getCause() instanceof StrictGenerator.NotFiniteException known) {
            return known.getOriginalMessage();
        }
        StringBuilder path = new StringBuilder("$");
        int left = 20; // what holds itself has a path without an end
        for (JsonMappingException.Reference step : error.getPath()) {
            if (left-- == 0) {
                path.append('…');
                break;
            }
            if (step.getFieldName() == null) {
                path.append('[').append(step.getIndex()).append(']');
            } else {
                path.append('.').append(step.getFieldName());
            }
        }
        return path + ": " + error.getOriginalMessage();
    }
}
