package com.creedpetitt.workersdk.internal;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Hears SIGTERM and SIGINT for all workers of the process: they leave, then the process ends with code 0. With the second
 * signal they leave at once; the third ends the process.
 *
 * <p>A shutdown hook would do for leaving, but the exit code would be the signal's, and whoever looks after processes takes
 * that for a failure. The class for signals ({@code sun.misc.Signal}) is in every JVM, and no part of Java; where it cannot
 * be had, hooks are what remains.
 */
public final class Signals {
    private static final String[] NAMES = {"TERM", "INT"};
    private static final int SIGNALLED = 128;
    private static final Set<Listener> LISTENERS = new LinkedHashSet<>();
    private static final Map<Object, Object> PREVIOUS = new HashMap<>();
    private static int seen;

    /** A worker that runs. */
    public interface Listener {
        /** Finishes what is in hand and goes. */
        void leave();

        /** Gives back what is in hand and goes. */
        void leaveAtOnce();

        /**
         * Waits until it has left and the program has had a moment to end by itself.
         *
         * @return whether it left well
         * @throws InterruptedException nobody wants to wait any more
         */
        boolean awaitEnd() throws InterruptedException;
    }

    private Signals() {}

    /**
     * Tells a worker of signals from now on.
     *
     * @param listener the worker
     */
    public static synchronized void add(Listener listener) {
        if (LISTENERS.isEmpty()) {
            seen = 0;
            for (String name : NAMES) {
                listen(name);
            }
        }
        LISTENERS.add(listener);
    }

    /**
     * Tells a worker of no more signals. What was done before it came is done again, unless a signal is what it left for.
     *
     * @param listener the worker
     */
    public static synchronized void remove(Listener listener) {
        LISTENERS.remove(listener);
        if (LISTENERS.isEmpty() && seen == 0) {
            PREVIOUS.forEach(Signals::handle);
            PREVIOUS.clear();
        }
    }

    private static void listen(String name) {
        try {
            Class<?> kind = Class.forName("sun.misc.Signal");
            Class<?> handlers = Class.forName("sun.misc.SignalHandler");
            Object signal = kind.getConstructor(String.class).newInstance(name);
            int number = (int) kind.getMethod("getNumber").invoke(signal);
            InvocationHandler handler = (proxy, method, arguments) -> switch (method.getName()) {
                case "equals" -> proxy == arguments[0];
                case "hashCode" -> number;
                case "toString" -> "workersdk";
                default -> {
                    heard(number);
                    yield null;
                }
            };
            Object ours = Proxy.newProxyInstance(handlers.getClassLoader(), new Class<?>[] {handlers}, handler);
            PREVIOUS.put(signal, handle(signal, ours));
        } catch (ReflectiveOperationException | IllegalStateException error) {
            return; // a JVM without it, or one that leaves signals alone (-Xrs)
        }
    }

    private static Object handle(Object signal, Object handler) {
        try {
            Class<?> handlers = Class.forName("sun.misc.SignalHandler");
            return signal.getClass()
                    .getMethod("handle", signal.getClass(), handlers)
                    .invoke(null, signal, handler);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    /** On a thread that the JVM makes for each signal. */
    private static void heard(int number) throws InterruptedException {
        List<Listener> workers;
        int count;
        synchronized (Signals.class) {
            workers = new ArrayList<>(LISTENERS);
            count = ++seen;
        }
        if (count == 1) {
            workers.forEach(Listener::leave);
            boolean isWell = true;
            for (Listener worker : workers) {
                isWell &= worker.awaitEnd();
            }
            Runtime.getRuntime().exit(isWell ? 0 : 1);
        } else if (count == 2) {
            workers.forEach(Listener::leaveAtOnce);
        } else {
            Runtime.getRuntime().halt(SIGNALLED + number);
        }
    }
}
