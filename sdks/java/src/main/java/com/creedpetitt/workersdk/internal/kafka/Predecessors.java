package com.creedpetitt.workersdk.internal.kafka;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ClassicGroupDescription;
import org.apache.kafka.clients.admin.DescribeClassicGroupsOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.common.KafkaFuture;
import org.slf4j.Logger;

/**
 * Members of this worker's groups whose process has died on this machine.
 *
 * <p>A group that gets a new member waits for all that it knows, for a dead one as long as its session lasts, and nobody
 * reads jobs meanwhile. A worker that is started in place of one that was killed would stop all others of its groups like
 * that. So it joins once the session is over: until then the others go on.
 */
final class Predecessors {
    private static final int LOOK_MS = 1_000;
    private static final double SPARE_S = 2.0;

    /** A name that a worker has made itself, in any language: host, process, and something of its own. */
    private static final Pattern NAME = Pattern.compile("(w-.+)-([0-9]{1,10})-[0-9a-f]{6}");

    /** Workers of this process. */
    private static final Set<String> HERE = ConcurrentHashMap.newKeySet();

    private final Admin admin;
    private final String workerId;
    private final Logger logger;
    private final double patience;
    private List<String> groups = new ArrayList<>();
    private boolean hasLooked;

    Predecessors(KafkaConfig config, Admin admin, String workerId, List<String> actions, Logger logger) {
        this.admin = admin;
        this.workerId = workerId;
        this.logger = logger;
        this.patience = config.session() + SPARE_S;
        actions.forEach(action -> groups.add(config.groupOf(action)));
    }

    /** Notes that a worker of this process is alive. */
    static void noteHere(String workerId) {
        HERE.add(workerId);
    }

    /** Notes that it is not any more. */
    static void noteGone(String workerId) {
        HERE.remove(workerId);
    }

    /** Tells whether a member of a group is certain to be dead, or is {@code workerId} in an earlier life. */
    static boolean hasDied(String clientId, String workerId) {
        if (clientId.equals(workerId)) {
            return true;
        }
        Matcher theirs = NAME.matcher(clientId);
        Matcher ours = NAME.matcher(workerId);
        if (HERE.contains(clientId)
                || !theirs.matches()
                || !ours.matches()
                || !theirs.group(1).equals(ours.group(1))) {
            return false;
        }
        // Of the same number on the same machine: a container has the same one in each of its lives.
        return theirs.group(2).equals(ours.group(2)) || !isAlive(Long.parseLong(theirs.group(2)));
    }

    /** Returns how many seconds they can be in the way. */
    double patience() {
        return patience;
    }

    /** Returns their names; none also where the brokers do not say. Takes two seconds at most. */
    Set<String> find() throws InterruptedException {
        Set<String> found = new TreeSet<>();
        try {
            if (!hasLooked) {
                groups.retainAll(known());
                hasLooked = true;
            }
            List<String> behind = new ArrayList<>();
            Map<String, KafkaFuture<ClassicGroupDescription>> described = admin.describeClassicGroups(
                            groups, new DescribeClassicGroupsOptions().timeoutMs(LOOK_MS))
                    .describedGroups();
            for (String group : groups) {
                List<String> dead = described.get(group).get().members().stream()
                        .map(MemberDescription::clientId)
                        .filter(name -> hasDied(name, workerId))
                        .toList();
                if (!dead.isEmpty()) {
                    behind.add(group);
                    found.addAll(dead);
                }
            }
            groups = behind;
        } catch (ExecutionException error) {
            String reason = error.getCause().getMessage();
            logger.debug("who is in the groups is not known: {}", reason);
        }
        return found;
    }

    /** Returns the groups that there are: to ask for one that there never was makes Java's client write an error. */
    private Set<String> known() throws InterruptedException, ExecutionException {
        ListGroupsOptions options = new ListGroupsOptions().timeoutMs(LOOK_MS);
        return admin.listGroups(options).valid().get().stream()
                .map(GroupListing::groupId)
                .collect(Collectors.toSet());
    }

    private static boolean isAlive(long pid) {
        return ProcessHandle.of(pid).map(ProcessHandle::isAlive).orElse(false);
    }
}
