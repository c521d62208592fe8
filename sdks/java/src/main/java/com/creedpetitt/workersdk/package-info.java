/**
 * Workers and clients for the workflow orchestrator.
 *
 * <pre>{@code
 * Worker worker = new Worker();
 * worker.register("step1", payload -> "Processed: " + payload);
 * worker.start("http://127.0.0.1:8080");
 * }</pre>
 */
package com.creedpetitt.workersdk;
