import com.creedpetitt.workersdk.Worker;

/** The worker of the benchmarks in Java: a no-op handler for every action, as in worker.py. */
public class NoopWorker {
    public static void main(String[] args) {
        Worker worker = Worker.builder().concurrency(1_000).build();
        for (int number = 0; number < Integer.parseInt(args[1]); number++) {
            worker.register("noop-" + number, payload -> payload);
        }
        worker.start(args[0]);
    }
}
