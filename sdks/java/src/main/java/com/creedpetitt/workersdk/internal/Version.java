package com.creedpetitt.workersdk.internal;

/** The name and version that this library gives of itself. */
public final class Version {
    /** Its name. */
    public static final String SDK = "workersdk-java";
    /** Its version, which the test of the pom holds equal to Maven's. */
    public static final String VERSION = "0.1.0";

    private Version() {}
}
