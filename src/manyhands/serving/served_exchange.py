"""The exchange of a server, whose handlers subscribe for the time of their connections."""

from manyhands.connections.connection import current_connection
from manyhands.connections.subscriptions import keep
from manyhands.exchange.exchange import MOST_WAITING
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import Subscription


class ServedExchange(LocalExchange):
    """As `LocalExchange`; a subscription that a handler makes ends with its connection."""

    def subscribe(
        self, subject: str, *, most: int = MOST_WAITING, when_behind: str = "close"
    ) -> Subscription:
        """See `Exchange.subscribe`."""
        subscription = super().subscribe(subject, most=most, when_behind=when_behind)
        keep(current_connection(), subscription)
        return subscription
