"""The worker of the workflow `order`: what was ordered is reserved, the card is charged, the parcel is sent."""

from typing import Any

from workersdk import Context, NonRetryableError, Worker

worker = Worker()


class BankUnavailable(Exception):
    """The bank gave no answer: to be tried again."""


@worker.register("reserve")
def reserve(order: dict[str, Any], context: Context) -> dict[str, Any]:
    context.logger.info("order %s: reserved", order["id"])
    return {"order": order, "reservation": f"shelf-{order['id']}"}


@worker.register("charge")
def charge(reserved: dict[str, Any], context: Context) -> dict[str, Any]:
    order = reserved["order"]
    context.logger.info("order %s: attempt %d to charge %d", order["id"], context.attempt, order["amount"])
    ask_the_bank(order["card"], context.attempt)
    context.logger.info("order %s: charged", order["id"])
    # The same for all attempts. A real bank gets it as the key that makes two requests one payment.
    return {"order": order, "payment": context.job_id}


@worker.register("ship")
def ship(paid: dict[str, Any], context: Context) -> dict[str, Any]:
    order = paid["order"]
    context.logger.info("order %s: shipped", order["id"])
    return {"id": order["id"], "payment": paid["payment"], "parcel": f"parcel-{order['id']}"}


def ask_the_bank(card: str, attempt: int) -> None:
    """Stand in for a bank: what it says depends on the card and on nothing that this process remembers."""
    if card == "unlucky" and attempt <= 2:
        raise BankUnavailable("the bank does not answer")
    if card == "blocked" and attempt == 1:
        # Only a person can help: the customer calls the bank, then somebody redrives the dead letter.
        raise NonRetryableError("the card is blocked", type="CardDeclined")


if __name__ == "__main__":
    worker.start()
