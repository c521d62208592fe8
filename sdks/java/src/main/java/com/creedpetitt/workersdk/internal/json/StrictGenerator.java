package com.creedpetitt.workersdk.internal.json;

import com.fasterxml.jackson.core.JsonGenerationException;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonStreamContext;
import com.fasterxml.jackson.core.util.JsonGeneratorDelegate;
import java.io.IOException;

/** Writes what every reader of JSON understands: Jackson by itself would write NaN, or a string in its place. */
final class StrictGenerator extends JsonGeneratorDelegate {
    StrictGenerator(JsonGenerator generator) {
        super(generator, false);
    }

    @Override
    public void writeNumber(double value) throws IOException {
        check(value);
        super.writeNumber(value);
    }

    @Override
    public void writeNumber(float value) throws IOException {
        check(value);
        super.writeNumber(value);
    }

    @Override
    public void writeArray(double[] array, int offset, int length) throws IOException {
        writeStartArray(array, length);
        for (int place = offset; place < offset + length; place++) {
            writeNumber(array[place]);
        }
        writeEndArray();
    }

    private void check(double value) throws IOException {
        if (!Double.isFinite(value)) {
            throw new NotFiniteException(path() + " is " + value + ", which JSON cannot carry", this);
        }
    }

    /** Returns the place that is written now, such as {@code $.items[3].price}. */
    String path() {
        return path(getOutputContext());
    }

    private static String path(JsonStreamContext context) {
        if (context == null || context.inRoot()) {
            return "$";
        }
        JsonStreamContext parent = context.getParent();
        String before = parent == null || parent.inRoot() ? "$" : path(parent, parent.getCurrentIndex());
        return before + part(context, context.getCurrentIndex() + 1);
    }

    /** Returns the place of something that is begun: its index has been counted already. */
    private static String path(JsonStreamContext context, int index) {
        JsonStreamContext parent = context.getParent();
        String before = parent == null || parent.inRoot() ? "$" : path(parent, parent.getCurrentIndex());
        return before + part(context, index);
    }

    private static String part(JsonStreamContext context, int index) {
        return context.inArray() ? "[" + index + "]" : "." + context.getCurrentName();
    }

    /** Its message holds the place already. */
    static final class NotFiniteException extends JsonGenerationException {
        private static final long serialVersionUID = 1L;

        NotFiniteException(String message, JsonGenerator generator) {
            super(message, generator);
        }
    }
}
