package com.creedpetitt.workersdk.internal.kafka;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Whose members of a group are certain to be dead. */
class PredecessorsTest {
    private static final long OURS = ProcessHandle.current().pid();

    private static String name(String host, long pid, String own) {
        return "w-" + host + "-" + pid + "-" + own;
    }

    private static String name(String host, long pid) {
        return name(host, pid, "0123ab");
    }

    private static long deadPid() throws IOException, InterruptedException {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        Process process = new ProcessBuilder(java, "--version")
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
        process.waitFor();
        return process.pid();
    }

    @Test
    void whoHasDiedHereIsKnownByTheProcess() throws IOException, InterruptedException {
        String ours = name("box-1", OURS);
        long parent = ProcessHandle.current().parent().orElseThrow().pid();
        long dead = deadPid();
        assertTrue(Predecessors.hasDied(name("box-1", dead), ours));
        assertFalse(Predecessors.hasDied(name("box-1", parent), ours));
        // Of another machine nothing is known, whatever its name begins with.
        assertFalse(Predecessors.hasDied(name("box-2", dead), ours));
        assertFalse(Predecessors.hasDied(name("box", dead), ours));
        assertFalse(Predecessors.hasDied(name("box-1-1", dead), ours));
    }

    @Test
    void theSameNumberOnTheSameMachineIsAnEarlierLifeUnlessItIsAnotherWorkerOfThisProcess() {
        String ours = name("box-1", OURS);
        String earlier = name("box-1", OURS, "fedcba");
        assertTrue(Predecessors.hasDied(earlier, ours));
        Predecessors.noteHere(earlier);
        assertFalse(Predecessors.hasDied(earlier, ours));
        Predecessors.noteGone(earlier);
        assertTrue(Predecessors.hasDied(earlier, ours));
    }

    @Test
    void aChosenNameSaysNothingOfItsProcess() throws IOException, InterruptedException {
        assertTrue(Predecessors.hasDied("billing-1", "billing-1"));
        assertFalse(Predecessors.hasDied("billing-1", "billing-2"));
        assertFalse(Predecessors.hasDied(name("box", deadPid()), "billing-1"));
        assertFalse(Predecessors.hasDied("billing-1", name("box", OURS)));
    }
}
