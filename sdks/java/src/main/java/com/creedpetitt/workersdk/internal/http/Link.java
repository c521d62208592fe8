package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.RegistrationException;
import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Loop;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;

/**
 * The worker's view of its connection: is it there, since when not, and is the worker registered. On the loop.
 *
 * <p>All calls share one outage, so that it is told once. The first failure is tried again at once and is not told: a kept
 * connection may have been closed by the other side.
 */
final class Link {
    final HttpTransport transport;
    Terms terms = Terms.USUAL;
    Runnable onRecovery = () -> {};

    private final Hello hello;
    private final Loop loop;
    private final Logger logger;
    private final Backoff backoff = new Backoff();
    private int failures;
    private double downSince;
    private int registrations;
    private CompletableFuture<Void> registering;

    Link(HttpTransport transport, Hello hello, Loop loop, Logger logger) {
        this.transport = transport;
        this.hello = hello;
        this.loop = loop;
        this.logger = logger;
    }

    /** Returns true from the first failed call to the next that comes through. */
    boolean isInDoubt() {
        return failures > 0;
    }

    /** Returns how often the worker has registered: compare before and after to see whether it has happened since. */
    int registrations() {
        return registrations;
    }

    /** Takes note of a call that did not come through; returns the pause in seconds before the next try. */
    double failed(Throwable error) {
        failures++;
        if (failures == 1) {
            downSince = Loop.now();
            return 0;
        }
        if (failures == 2) {
            String state = registrations > 0 ? "lost the orchestrator at" : "cannot reach the orchestrator at";
            logger.warn("{} {} ({}); retrying", state, transport.address(), error.getMessage());
        }
        return backoff.next();
    }

    /** Takes note of a call that came through. */
    void reached() {
        if (failures == 0) {
            return;
        }
        if (failures > 1 && registrations > 0) {
            String seconds = String.format(Locale.ROOT, "%.1f", Loop.now() - downSince);
            logger.info("connected again to {} after {} s", transport.address(), seconds);
        }
        failures = 0;
        backoff.reset();
        onRecovery.run();
    }

    /** Registers, trying until it is done. Fails with a {@link RegistrationException}. */
    CompletableFuture<Void> register() {
        CompletableFuture<Void> done = new CompletableFuture<>();
        tryToRegister(done);
        return done;
    }

    /** Registers anew, unless another call has done so since there were so many registrations. */
    CompletableFuture<Void> registerAgain(int before) {
        if (registrations != before) {
            return CompletableFuture.completedFuture(null);
        }
        if (registering == null || registering.isDone()) {
            logger.info("the orchestrator at {} does not know this worker: registering again", transport.address());
            registering = register();
        }
        return registering;
    }

    private void tryToRegister(CompletableFuture<Void> done) {
        transport
                .register(hello)
                .whenCompleteAsync(
                        (given, error) -> {
                            if (error == null) {
                                terms = given;
                                reached();
                                registrations++;
                                done.complete(null);
                            } else if (Execution.cause(error) instanceof TransportException.Refused refused) {
                                done.completeExceptionally(new RegistrationException(
                                        transport.address(), refused.status, refused.title, refused.detail));
                            } else {
                                loop.schedule(failed(Execution.cause(error)), () -> tryToRegister(done));
                            }
                        },
                        loop);
    }
}
