/** The worker of the workflow `order`: what was ordered is reserved, the card is charged, the parcel is sent. */

import { NonRetryableError, Worker } from "workersdk";

interface Order {
  id: number;
  amount: number;
  card: string;
}

const worker = new Worker();

worker.register("reserve", (order: Order, context) => {
  context.logger.info(`order ${order.id}: reserved`);
  return { order, reservation: `shelf-${order.id}` };
});

worker.register("charge", ({ order }: { order: Order }, context) => {
  context.logger.info(`order ${order.id}: attempt ${context.attempt} to charge ${order.amount}`);
  askTheBank(order.card, context.attempt);
  context.logger.info(`order ${order.id}: charged`);
  // The same for all attempts. A real bank gets it as the key that makes two requests one payment.
  return { order, payment: context.jobId };
});

worker.register("ship", ({ order, payment }: { order: Order; payment: string }, context) => {
  context.logger.info(`order ${order.id}: shipped`);
  return { id: order.id, payment, parcel: `parcel-${order.id}` };
});

/** The bank gave no answer: to be tried again. */
class BankUnavailable extends Error {}

/** Stands in for a bank: what it says depends on the card and on nothing that this process remembers. */
function askTheBank(card: string, attempt: number): void {
  if (card === "unlucky" && attempt <= 2) throw new BankUnavailable("the bank does not answer");
  if (card === "blocked" && attempt === 1) {
    // Only a person can help: the customer calls the bank, then somebody redrives the dead letter.
    throw new NonRetryableError("the card is blocked", { type: "CardDeclined" });
  }
}

await worker.start();
