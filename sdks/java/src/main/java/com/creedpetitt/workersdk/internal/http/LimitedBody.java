package com.creedpetitt.workersdk.internal.http;

import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow;

/** A body that is read up to a limit: what answers there may be anything. */
final class LimitedBody implements HttpResponse.BodySubscriber<byte[]> {
    private final long bytesMax;
    private final List<ByteBuffer> parts = new ArrayList<>();
    private final CompletableFuture<byte[]> body = new CompletableFuture<>();
    private Flow.Subscription subscription;
    private long bytes;

    LimitedBody(long bytesMax) {
        this.bytesMax = bytesMax;
    }

    @Override
    public CompletionStage<byte[]> getBody() {
        return body;
    }

    @Override
    public void onSubscribe(Flow.Subscription given) {
        subscription = given;
        given.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(List<ByteBuffer> next) {
        for (ByteBuffer part : next) {
            bytes += part.remaining();
            parts.add(part);
        }
        if (bytes > bytesMax && !body.isDone()) {
            subscription.cancel();
            parts.clear();
            String reason = String.format(
                    Locale.ROOT,
                    "the answer is larger than %,d bytes; %s sets how large it may be",
                    bytesMax,
                    Http.ANSWER_VARIABLE);
            body.completeExceptionally(new HttpException(reason, true, null));
        }
    }

    @Override
    public void onError(Throwable error) {
        body.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
        ByteBuffer whole = ByteBuffer.allocate((int) bytes);
        parts.forEach(whole::put);
        body.complete(whole.array());
    }
}
