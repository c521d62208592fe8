/**
 * Tests of handlers as the workflow that they are, without an orchestrator and without waiting.
 *
 * @see com.creedpetitt.workersdk.testing.SimulatedRun
 */
package com.creedpetitt.workersdk.testing;
