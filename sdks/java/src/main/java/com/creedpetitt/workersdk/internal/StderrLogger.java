package com.creedpetitt.workersdk.internal;

import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import org.slf4j.ILoggerFactory;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.Marker;
import org.slf4j.event.Level;
import org.slf4j.helpers.LegacyAbstractLogger;
import org.slf4j.helpers.MessageFormatter;
import org.slf4j.helpers.NOPLoggerFactory;

/** Writes to standard error where a program has no provider for slf4j: a worker that says nothing helps nobody. */
public final class StderrLogger extends LegacyAbstractLogger {
    private static final long serialVersionUID = 1L;

    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss,SSS");

    private final transient PrintStream out;

    StderrLogger(String name, PrintStream out) {
        this.name = name;
        this.out = out;
    }

    /**
     * Returns the program's logger, or one that writes to standard error when the program has none.
     *
     * @param name of the logger
     * @return a logger
     */
    public static Logger orTheProgramsOwn(String name) {
        ILoggerFactory factory = LoggerFactory.getILoggerFactory();
        return factory instanceof NOPLoggerFactory ? new StderrLogger(name, System.err) : LoggerFactory.getLogger(name);
    }

    @Override
    protected String getFullyQualifiedCallerName() {
        return null;
    }

    @Override
    protected void handleNormalizedLoggingCall(
            Level level, Marker marker, String pattern, Object[] arguments, Throwable error) {
        String message = MessageFormatter.basicArrayFormat(pattern, arguments);
        StringWriter text = new StringWriter();
        if (error != null) {
            error.printStackTrace(new PrintWriter(text, true));
        }
        String line = LocalDateTime.now().format(TIME) + " " + level + " " + name + ": " + message;
        out.println((line + System.lineSeparator() + text).stripTrailing());
    }

    @Override
    public boolean isTraceEnabled() {
        return false;
    }

    @Override
    public boolean isDebugEnabled() {
        return false;
    }

    @Override
    public boolean isInfoEnabled() {
        return true;
    }

    @Override
    public boolean isWarnEnabled() {
        return true;
    }

    @Override
    public boolean isErrorEnabled() {
        return true;
    }
}
