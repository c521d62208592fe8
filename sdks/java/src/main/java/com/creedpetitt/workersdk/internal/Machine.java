package com.creedpetitt.workersdk.internal;

import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Locale;

/** Where this process runs, and what a worker in it is called. */
public final class Machine {
    private static final Path KERNEL = Path.of("/proc/sys/kernel/hostname");
    private static final int HOST_MAX = 64;
    private static final int RANDOM_MAX = 1 << 24;

    private Machine() {}

    /**
     * Makes a name that is a worker's own: host, process, and something by chance. Workers in all languages are called like
     * this, and find in it who ran here before them.
     *
     * @return an id
     */
    public static String makeWorkerId() {
        String host = hostName().replaceAll("[^A-Za-z0-9._-]", "-");
        String shown = host.substring(0, Math.min(host.length(), HOST_MAX));
        long pid = ProcessHandle.current().pid();
        // In the digits of the protocol, whatever those of the machine's language are.
        return String.format(Locale.ROOT, "w-%s-%d-%06x", shown, pid, new SecureRandom().nextInt(RANDOM_MAX));
    }

    /**
     * Returns the name of the machine, as its system has it: it need not be one that a name server knows.
     *
     * @return a name; {@code unknown} when there is none
     */
    public static String hostName() {
        try {
            String name = Files.readString(KERNEL).strip();
            if (!name.isEmpty()) {
                return name;
            }
        } catch (IOException error) {
            // Not Linux.
        }
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException error) {
            return "unknown";
        }
    }
}
