import com.creedpetitt.workersdk.Context;
import com.creedpetitt.workersdk.Worker;

/** The worker of the workflow `long-job`: a film is encoded for minutes, and no frame twice when a worker dies. */
public class LongJobWorkerApp {
    record Film(int frames, Double secondsPerFrame) {}

    record Progress(int done) {}

    record Encoded(int frames, int resumedAt) {}

    public static void main(String[] args) {
        Worker worker = new Worker();
        worker.register("encode", Film.class, LongJobWorkerApp::encode);
        worker.start();
    }

    static Encoded encode(Film film, Context context) throws InterruptedException {
        double seconds = film.secondsPerFrame() == null ? 1 : film.secondsPerFrame();
        // What the attempt before this one said last.
        Progress before = context.details(Progress.class);
        int first = before == null ? 0 : before.done();
        context.logger().info("encode from frame {} of {}, attempt {}", first, film.frames(), context.attempt());
        for (int frame = first; frame < film.frames(); frame++) {
            // The work. A cancelled job ends here, with an InterruptedException.
            Thread.sleep(Math.round(seconds * 1_000));
            context.heartbeat(new Progress(frame + 1));
        }
        context.logger().info("encoded {} frames", film.frames());
        return new Encoded(film.frames(), first);
    }
}
