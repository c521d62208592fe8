package com.creedpetitt.workersdk;

/** The example of the contract; in a file of its own it needs one more line: the import of Worker. */
public class ExampleWorkerApp {
    public static void main(String[] args) {
        Worker worker = new Worker();

        worker.register("step1", payload -> {
            return "Java processed: " + payload;
        });

        worker.start();
    }
}
