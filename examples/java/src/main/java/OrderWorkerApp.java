import com.creedpetitt.workersdk.Context;
import com.creedpetitt.workersdk.NonRetryableException;
import com.creedpetitt.workersdk.Worker;

/** The worker of the workflow `order`: what was ordered is reserved, the card is charged, the parcel is sent. */
public class OrderWorkerApp {
    record Order(int id, int amount, String card) {}

    record Reserved(Order order, String reservation) {}

    record Paid(Order order, String payment) {}

    record Shipped(int id, String payment, String parcel) {}

    /** The bank gave no answer: to be tried again. */
    static class BankUnavailable extends Exception {
        private static final long serialVersionUID = 1;

        BankUnavailable(String message) {
            super(message);
        }
    }

    public static void main(String[] args) {
        Worker worker = new Worker();
        worker.register("reserve", Order.class, OrderWorkerApp::reserve);
        worker.register("charge", Reserved.class, OrderWorkerApp::charge);
        worker.register("ship", Paid.class, OrderWorkerApp::ship);
        worker.start();
    }

    static Reserved reserve(Order order, Context context) {
        context.logger().info("order {}: reserved", order.id());
        return new Reserved(order, "shelf-" + order.id());
    }

    static Paid charge(Reserved reserved, Context context) throws BankUnavailable {
        Order order = reserved.order();
        context.logger().info("order {}: attempt {} to charge {}", order.id(), context.attempt(), order.amount());
        askTheBank(order.card(), context.attempt());
        context.logger().info("order {}: charged", order.id());
        // The same for all attempts. A real bank gets it as the key that makes two requests one payment.
        return new Paid(order, context.jobId());
    }

    static Shipped ship(Paid paid, Context context) {
        Order order = paid.order();
        context.logger().info("order {}: shipped", order.id());
        return new Shipped(order.id(), paid.payment(), "parcel-" + order.id());
    }

    /** Stands in for a bank: what it says depends on the card and on nothing that this process remembers. */
    static void askTheBank(String card, int attempt) throws BankUnavailable {
        if (card.equals("unlucky") && attempt <= 2) {
            throw new BankUnavailable("the bank does not answer");
        }
        if (card.equals("blocked") && attempt == 1) {
            // Only a person can help: the customer calls the bank, then somebody redrives the dead letter.
            throw new NonRetryableException("the card is blocked", "CardDeclined");
        }
    }
}
