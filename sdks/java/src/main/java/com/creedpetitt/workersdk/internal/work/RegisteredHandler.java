package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.ContextHandler;
import com.fasterxml.jackson.databind.JavaType;

/**
 * A handler, and what it takes.
 *
 * @param action what it does
 * @param type what its payload is read as; null for Java's own values
 * @param call itself
 */
public record RegisteredHandler(String action, JavaType type, ContextHandler<Object> call) {}
