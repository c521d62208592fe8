package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.InvalidUrlException;
import com.creedpetitt.workersdk.SettingException;
import com.creedpetitt.workersdk.internal.Version;
import java.net.ConnectException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Requests to one orchestrator, over kept connections.
 *
 * <p>It follows no redirects, keeps no cookies and looks for no proxy in the environment.
 */
public final class Http {
    static final String ANSWER_VARIABLE = "WORKFLOW_ANSWER_BYTES_MAX";

    /** Those with jobs may be larger by as many payloads as jobs were asked for. */
    private static final long ANSWER_BYTES_MAX = 64L * 1024 * 1024;

    /** The most that one array of Java's holds. */
    private static final long ARRAY_MAX = Integer.MAX_VALUE - 8L;

    private static final int DIGITS_MAX = 15;
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);

    private final String prefix;
    private final String address;
    private final String authorization;
    private final long answerBytesMax;
    private final HttpClient client = open();

    /**
     * An answer, read to its end.
     *
     * @param status the code
     * @param link the header {@code Link}; may be empty
     * @param retryAfter the header {@code Retry-After}; may be empty
     * @param body what it holds
     */
    public record Response(int status, String link, String retryAfter, byte[] body) {}

    /**
     * Reads {@code http://host:port/prefix} or {@code https://user:password@host}.
     *
     * @param url the address
     * @param environment the variables
     * @throws InvalidUrlException it cannot be read
     * @throws SettingException a variable cannot be used
     */
    public Http(String url, Map<String, String> environment) {
        URI given;
        try {
            given = new URI(url);
        } catch (URISyntaxException error) {
            throw unreadable(url, ": " + error.getReason());
        }
        String scheme = given.getScheme() == null ? "" : given.getScheme().toLowerCase(Locale.ROOT);
        if (!scheme.equals("http") && !scheme.equals("https") || given.getHost() == null) {
            throw unreadable(url, ", such as http://127.0.0.1:8080");
        }
        int usual = scheme.equals("http") ? 80 : 443;
        String port = given.getPort() == -1 || given.getPort() == usual ? "" : ":" + given.getPort();
        prefix = given.getRawPath().replaceAll("/+$", "");
        address = scheme + "://" + given.getHost() + port + prefix;
        authorization = given.getRawUserInfo() == null ? null : basic(given.getRawUserInfo());
        answerBytesMax = readAnswerBytesMax(environment.getOrDefault(ANSWER_VARIABLE, ""));
    }

    /**
     * Returns where the orchestrator is, for log lines: without a password.
     *
     * @return an address
     */
    public String address() {
        return address;
    }

    /**
     * Returns what all paths begin with.
     *
     * @return a path without its last slash; may be empty
     */
    public String prefix() {
        return prefix;
    }

    /**
     * Sends one request and reads its answer. Cancelling the future closes the connection, so that the orchestrator sees
     * that nobody waits any more.
     *
     * @param method such as POST
     * @param target the path below the address, with its query, as it travels
     * @param body JSON; null for none
     * @param timeout seconds, for the whole of it
     * @param headers further ones
     * @param isRepeatable whether it does no harm to send it twice; if not, it goes out on a connection of its own:
     *     when a kept one breaks, nobody knows what was done
     * @param moreBytes by how much the answer may be larger than any other
     * @return the answer; {@link #explained} says why it failed
     */
    public CompletableFuture<Response> request(
            String method,
            String target,
            byte[] body,
            double timeout,
            Map<String, String> headers,
            boolean isRepeatable,
            long moreBytes) {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(address + target))
                .method(
                        method,
                        body == null
                                ? HttpRequest.BodyPublishers.noBody()
                                : HttpRequest.BodyPublishers.ofByteArray(body))
                .header("User-Agent", Version.SDK + "/" + Version.VERSION)
                .header("Accept", "application/json")
                .header("Content-Type", "application/json");
        if (authorization != null) {
            request.header("Authorization", authorization);
        }
        headers.forEach(request::header);
        long bytesMax = Math.min(ARRAY_MAX, answerBytesMax + moreBytes);
        CompletableFuture<HttpResponse<byte[]>> sent =
                (isRepeatable ? client : open()).sendAsync(request.build(), info -> new LimitedBody(bytesMax));
        CompletableFuture<Response> answer = new CompletableFuture<>();
        sent.whenComplete((response, error) -> {
            if (error == null) {
                answer.complete(read(response));
            } else {
                answer.completeExceptionally(error);
            }
        });
        // The client's own time-out ends with the headers.
        answer.orTimeout((long) (timeout * 1000), TimeUnit.MILLISECONDS);
        answer.whenComplete((response, error) -> {
            if (error != null) {
                sent.cancel(true);
            }
        });
        return answer;
    }

    /**
     * Says in a few words why there is no answer.
     *
     * @param error what a request failed with
     * @return the reason as its message
     */
    public static HttpException explained(Throwable error) {
        Throwable cause = error;
        while (cause instanceof CompletionException && cause.getCause() != null) {
            cause = cause.getCause();
        }
        for (Throwable one = cause; one != null; one = one.getCause()) {
            if (one instanceof HttpException known) {
                return known;
            }
        }
        return new HttpException(reasonOf(cause), false, cause);
    }

    /**
     * Writes text as a part of a path.
     *
     * @param text any
     * @return the part as it travels
     */
    public static String part(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8)
                .replace("+", "%20")
                .replace("%3A", ":")
                .replace("%40", "@");
    }

    private static HttpClient open() {
        return HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .proxy(HttpClient.Builder.NO_PROXY)
                .connectTimeout(CONNECT_TIMEOUT)
                .build();
    }

    private static Response read(HttpResponse<byte[]> response) {
        return new Response(
                response.statusCode(),
                response.headers().firstValue("link").orElse(""),
                response.headers().firstValue("retry-after").orElse(""),
                response.body());
    }

    private static String reasonOf(Throwable error) {
        if (error instanceof HttpConnectTimeoutException) {
            return "no connection within " + CONNECT_TIMEOUT.toSeconds() + " s";
        }
        if (error instanceof HttpTimeoutException || error instanceof TimeoutException) {
            return "no answer in time";
        }
        if (error instanceof ConnectException) {
            // The JDK keeps the reason of the system to itself, where it is not a name that cannot be found.
            boolean isUnknown = error.getCause() != null
                    && error.getCause().getClass().getSimpleName().startsWith("Unresolved");
            return isUnknown ? "the name of the host is not known" : "connection refused";
        }
        String message = error.getMessage();
        return message == null || message.isBlank() ? error.getClass().getSimpleName() : message.strip();
    }

    private static InvalidUrlException unreadable(String url, String why) {
        return new InvalidUrlException("'" + url + "' is not an address of an orchestrator" + why);
    }

    private static String basic(String userInfo) {
        int colon = userInfo.indexOf(':');
        String user = colon < 0 ? userInfo : userInfo.substring(0, colon);
        String password = colon < 0 ? "" : userInfo.substring(colon + 1);
        String pair = decoded(user) + ":" + decoded(password);
        return "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8));
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    private static long readAnswerBytesMax(String text) {
        String digits = text.strip();
        if (digits.isEmpty()) {
            return ANSWER_BYTES_MAX;
        }
        if (!digits.matches("\\d{1," + DIGITS_MAX + "}") || Long.parseLong(digits) == 0) {
            throw new SettingException(
                    ANSWER_VARIABLE + "=" + text + " is not a number of bytes, such as " + ANSWER_BYTES_MAX);
        }
        return Long.parseLong(digits);
    }
}
