package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.ApiException;
import com.creedpetitt.workersdk.ConflictException;
import com.creedpetitt.workersdk.ConnectionFailedException;
import com.creedpetitt.workersdk.NotFoundException;
import com.creedpetitt.workersdk.WorkflowException;
import com.creedpetitt.workersdk.internal.http.Http.Response;
import com.creedpetitt.workersdk.internal.json.Json;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/** The REST API call by call: retries that are safe, errors that say what to do. Safe to use from any thread. */
public final class Rest {
    /** How long a call may take. */
    public static final double TIMEOUT_S = 30.0;

    private static final int TRIES_MAX = 5;
    private static final double RETRY_AFTER_S_MAX = 10.0;
    private static final int PAGE_MAX = 500;
    private static final Set<Integer> RETRIED_STATUSES = Set.of(502, 503, 504);
    private static final Pattern NEXT_PAGE = Pattern.compile("<([^>]+)>\\s*;\\s*rel=\"?next\"?");

    private final Http http;

    /**
     * Makes one.
     *
     * @param http to the orchestrator
     */
    public Rest(Http http) {
        this.http = http;
    }

    /**
     * One call.
     *
     * @param method such as POST
     * @param target the path with its query
     * @param body JSON; null for none
     * @param headers further ones
     * @param timeout seconds
     * @param isRepeatable whether it does no harm to make it twice
     */
    public record Call(
            String method,
            String target,
            byte[] body,
            Map<String, String> headers,
            double timeout,
            boolean isRepeatable) {
        /**
         * Asks for something.
         *
         * @param target the path with its query
         * @return a call
         */
        public static Call get(String target) {
            return new Call("GET", target, null, Map.of(), TIMEOUT_S, true);
        }

        /**
         * Sends something, and does no harm when it does so twice.
         *
         * @param target the path with its query
         * @param body JSON
         * @return a call
         */
        public static Call post(String target, byte[] body) {
            return new Call("POST", target, body, Map.of(), TIMEOUT_S, true);
        }
    }

    /**
     * Returns where the orchestrator is.
     *
     * @return an address without a password
     */
    public String address() {
        return http.address();
    }

    /**
     * Makes a call.
     *
     * @param call which
     * @return the JSON of its answer; a missing node when it has none
     */
    public JsonNode call(Call call) {
        return read(send(call));
    }

    /**
     * Returns the entries of a list, following its links page by page as they are needed.
     *
     * @param path of the list
     * @param query parameters, each with none, one or several values
     * @param limit how many at most; null for all
     * @return the entries
     */
    public Stream<JsonNode> entries(String path, Map<String, List<String>> query, Integer limit) {
        Map<String, List<String>> whole = new LinkedHashMap<>(query);
        if (limit != null) {
            whole.put("limit", List.of(Integer.toString(Math.max(1, Math.min(limit, PAGE_MAX)))));
        }
        Iterable<JsonNode> pages = () -> new Pages(path + query(whole));
        Stream<JsonNode> all = StreamSupport.stream(pages.spliterator(), false);
        return limit == null ? all : all.limit(limit);
    }

    /**
     * Writes a query.
     *
     * @param query parameters, each with none, one or several values
     * @return it, with its question mark, or nothing
     */
    public static String query(Map<String, List<String>> query) {
        List<String> parts = new ArrayList<>();
        query.forEach((name, values) -> values.forEach(value -> parts.add(name + "=" + Http.part(value))));
        return parts.isEmpty() ? "" : "?" + String.join("&", parts);
    }

    private Response send(Call call) {
        Backoff backoff = new Backoff();
        for (int tries = 1; ; tries++) {
            double pause = backoff.next();
            boolean isLast = tries >= (call.isRepeatable() ? TRIES_MAX : 1);
            try {
                Response response = wait(http.request(
                        call.method(),
                        call.target(),
                        call.body(),
                        call.timeout(),
                        call.headers(),
                        call.isRepeatable(),
                        0));
                if (isLast || !RETRIED_STATUSES.contains(response.status())) {
                    return checked(response);
                }
                pause = Math.max(pause, retryAfter(response));
            } catch (HttpException error) {
                if (isLast || error.isLasting()) {
                    throw new ConnectionFailedException(address(), error.getMessage(), error);
                }
            }
            pause(pause);
        }
    }

    private Response wait(CompletableFuture<Response> answer) throws HttpException {
        try {
            return answer.get();
        } catch (ExecutionException error) {
            throw Http.explained(error.getCause());
        } catch (InterruptedException error) {
            answer.cancel(true);
            throw interrupted(error);
        }
    }

    private static void pause(double seconds) {
        try {
            Thread.sleep((long) (seconds * 1000));
        } catch (InterruptedException error) {
            throw interrupted(error);
        }
    }

    private static WorkflowException interrupted(InterruptedException error) {
        Thread.currentThread().interrupt();
        return new WorkflowException("interrupted while waiting for the orchestrator", error);
    }

    private JsonNode read(Response response) {
        if (response.body().length == 0) {
            return MissingNode.getInstance();
        }
        try {
            return Json.read(response.body());
        } catch (IOException error) {
            String reason = "what answers there does not speak JSON: " + error.getMessage();
            throw new ConnectionFailedException(address(), reason, error);
        }
    }

    private static double retryAfter(Response response) {
        String text = response.retryAfter();
        return text.matches("\\d{1,9}") ? Math.min(Integer.parseInt(text), RETRY_AFTER_S_MAX) : 0;
    }

    private static Response checked(Response response) {
        int status = response.status();
        if (status >= 200 && status < 300) {
            return response;
        }
        JsonNode problem = Json.readProblem(response.body());
        String code = problem.path("code").asText("");
        String title = problem.path("title").asText("no reason given");
        String detail = problem.path("detail").asText("");
        List<Map<String, String>> errors = new ArrayList<>();
        for (JsonNode error : problem.path("errors")) {
            Map<String, String> fields = new LinkedHashMap<>();
            error.properties()
                    .forEach(
                            entry -> fields.put(entry.getKey(), entry.getValue().asText()));
            errors.add(fields);
        }
        throw switch (status) {
            case 404 -> new NotFoundException(status, code, title, detail, errors);
            case 409 -> new ConflictException(status, code, title, detail, errors);
            default -> new ApiException(status, code, title, detail, errors);
        };
    }

    /** Goes from page to page. */
    private final class Pages implements Iterator<JsonNode> {
        private String next;
        private Iterator<JsonNode> page = List.<JsonNode>of().iterator();

        Pages(String first) {
            next = first;
        }

        @Override
        public boolean hasNext() {
            while (!page.hasNext() && !next.isEmpty()) {
                Response response = send(Call.get(next));
                page = read(response).iterator();
                Matcher found = NEXT_PAGE.matcher(response.link());
                next = found.find() ? pathOf(found.group(1)) : "";
            }
            return page.hasNext();
        }

        @Override
        public JsonNode next() {
            if (!hasNext()) {
                throw new NoSuchElementException();
            }
            return page.next();
        }

        private String pathOf(String link) {
            String path = link.replaceFirst("^[a-z]+://[^/]*", "");
            return path.startsWith(http.prefix()) ? path.substring(http.prefix().length()) : path;
        }
    }
}
