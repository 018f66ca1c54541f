"""Celery's way to the ledger: a kombu transport for Redis, under the scheme ``seedmill://``.

kombu's own pops a message and records it afterwards, so that a worker killed in between loses it. Here the connection
that kombu waits on takes nothing: ``BLMOVE lane lane RIGHT RIGHT`` moves the last message to where it is, and so only
tells that there is one. The ledger then takes as many as there is room for, in one step. Everything else, remote
control and connecting among it, is kombu's.

All of kombu's private names that this relies on are in PRIVATE; a test holds their source to what it was tried with.
"""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import Any

import redis
import structlog
from celery.worker.state import maybe_shutdown
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis

from producer.connection import takes_no_writes
from producer.redis_url import Sentinels
from producer.sentinel import Watching, WatchingTLS, primary_pool
from worker.errors import MalformedMessage
from worker.monitoring import metrics
from worker.queue.burial import Burial
from worker.queue.envelope import count_seeds, open_envelope
from worker.queue.ledger import Ledger, Taken

log = structlog.get_logger(__name__)

SCHEMES = {"redis": "seedmill", "rediss": "seedmills", "redis+socket": "seedmill+socket"}
"""This transport's URL schemes, for those of kombu's own: plain, TLS, and a Unix socket."""

PRIVATE = {
    kombu_redis.Channel: (
        "_brpop_start",
        "_brpop_read",
        "_flush_brpop_reauth",
        "conn_or_acquire",
        "_size",
        "_receive",
        "_on_connection_disconnect",
        "_connparams",
        "_get_pool",
    ),
    kombu_redis.MultiChannelPoller: ("_register_BRPOP", "_update_brpop_polling", "_pause_brpop", "on_readable"),
    kombu_redis.Transport: ("__init__", "register_with_event_loop"),
    virtual.QoS: ("append", "ack", "reject", "can_consume", "restore_unacked_once", "restore_visible"),
    virtual.Channel: ("basic_consume", "basic_ack", "basic_reject", "close"),
    virtual.Transport: ("establish_connection", "_deliver"),
}
"""What is overridden, called or relied upon of kombu."""

PAUSE_S = 0.5
"""Pause after Redis refused, so that a queue that cannot be taken from does not keep the worker spinning."""

CROWDED_S = 0.05
"""Pause between two looks for urgent messages while there is room for no others."""

TURN_S = 1.0
"""How often it is told that the loop turns."""

RAW_KEPT = 20_000
"""Characters of a malformed message that its dead letter keeps."""


class QoS(virtual.QoS):  # type: ignore[misc]  # kombu has no types
    """Room and acknowledgements, as the ledger has them; kombu's own books are kept along."""

    channel: Channel

    def can_consume(self) -> bool:
        """Return whether the ledger has room for any message.

        While it has room for urgent ones alone, a stand-in in their lane would end a wait at once, again and again: so
        nothing is waited for then, but looked for. An acknowledgement wakes the loop, which asks here again.
        """
        ledger = self.channel.ledger
        return ledger.free > 0 and not ledger.is_crowded

    def ack(self, delivery_tag: str) -> None:
        """Settle a message, unless the task has done so together with its result."""
        self.channel.ledger.settle(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # kombu's signature
        """Give a message back, or settle it."""
        (self.channel.ledger.give_back if requeue else self.channel.ledger.settle)(delivery_tag)
        super().ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Do nothing: what is held outlives the channel, whose connection may have broken under running tasks."""

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the ledger sweeps (worker/service.py)."""


class Channel(kombu_redis.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel whose messages come from the ledger."""

    QoS = QoS
    ledger: Ledger
    sentinels: Sentinels | None
    from_transport_options = (*kombu_redis.Channel.from_transport_options, "ledger", "sentinels")

    def look(self) -> None:
        """Take urgent messages while there is room for no others."""
        if self.active_queues and self.ledger.free and self.ledger.is_crowded:
            with suppress(Empty):
                self._take_and_deliver()

    def hear(self) -> Any:
        """Read what is published to us; a text that is no message of Celery's must not end the worker."""
        try:
            return self.handlers["LISTEN"]()
        except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
            log.error("a published text is no message", action="control_refused", error=repr(error))
            return False

    def _get_pool(self, asynchronous: bool = False) -> Any:
        """Return the connections; behind Sentinels, whose transport kombu has apart, each goes to the primary."""
        if self.sentinels is None:
            return super()._get_pool(asynchronous)
        self.connection_class, self.connection_class_ssl = Watching, WatchingTLS
        options = self._connparams(asynchronous)
        self.keyprefix_fanout: str = self.keyprefix_fanout.format(db=options["db"])
        return primary_pool(self.sentinels, **{name: options[name] for name in options.keys() - {"host", "port"}})

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a message in the first lane; there is one, or a stand-in, while any lane of ours has messages."""
        self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        wait = timeout or self.brpop_timeout
        first = self.ledger.queue.celery
        self.client.connection.send_command("BLMOVE", first, first, "RIGHT", "RIGHT", wait)

    def _brpop_read(self, **options: Any) -> bool:
        """Read that there is a message, or that the wait is over; take what there is room for, and deliver it.

        Also after a wait in vain, since a Celery app that sends with a priority fills another lane without a stand-in.
        """
        try:
            self._end_wait(options)
            return self._take_and_deliver()
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _end_wait(self, options: dict[str, Any]) -> None:
        connection = self.client.connection
        try:
            self.client.parse_response(connection, "BLMOVE", **options)
        except self.connection_errors:
            connection.disconnect()
            raise
        except redis.ResponseError as error:
            if takes_no_writes(error):  # the primary may be elsewhere now
                connection.disconnect()
                raise redis.ConnectionError(str(error)) from error
            log.error("the queue cannot be waited on", action="take_refused", error=str(error))
            time.sleep(PAUSE_S)
            raise Empty from error

    def _take_and_deliver(self) -> bool:
        if not self.active_queues:  # told by remote control to take no more, while it waited
            return False
        try:
            messages = self.ledger.take()
        except redis.RedisError as error:
            log.error("nothing can be taken from the queue", action="take_refused", error=str(error))
            time.sleep(PAUSE_S)
            raise Empty from error
        self._deliver_each(messages)
        return bool(messages)

    def _deliver_each(self, messages: list[Taken]) -> None:
        """Hand each message to the consumer, and bury those that are none; what is not handed over goes back."""
        burials: list[Burial] = []
        ended = 0
        try:
            for taken in messages:
                try:
                    message = open_envelope(taken)
                    if not taken.seeds:
                        self.ledger.weigh(taken.tag, count_seeds(message))
                    self.connection._deliver(message, self.ledger.queue.celery)
                except MalformedMessage as error:
                    metrics.CHUNKS.labels("refused").inc()
                    log.error("malformed message", action="message_malformed", task_id=error.task_id, error=str(error))
                    burials.append(_burial(taken, error, error.task_id))
                except self.connection_errors:
                    raise
                except Exception as error:  # nothing that a message does to Celery may end the worker
                    metrics.CHUNKS.labels("refused").inc()
                    log.exception("message not accepted", action="message_refused", tag=taken.tag)
                    burials.append(_burial(taken, error, ""))
                ended += 1
        finally:
            for taken in messages[ended:]:
                self.ledger.give_back(taken.tag)
            if burials:
                self.ledger.bury(burials)

    def _size(self, queue: str) -> int:
        if queue != self.ledger.queue.celery:
            return int(super()._size(queue))
        with self.conn_or_acquire() as client:  # a wait may be under way on our own, whose answer would be read here
            return sum(int(client.llen(lane)) for lane in self.ledger.queue.lanes)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        raise NotImplementedError("this transport delivers to consumers only")


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]  # kombu has no types
    """What the loop does when a connection has something."""

    def on_readable(self, fileno: int) -> Any:
        """Read what is published to us also while no message is taken.

        kombu leaves that unread then, and the loop spins over it until there is room again.
        """
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        return channel.hear() if kind == "LISTEN" else super().on_readable(fileno)

    def look(self) -> None:
        """Look for urgent messages."""
        for channel in list(self._channels):
            channel.look()


class Transport(kombu_redis.Transport):  # type: ignore[misc]  # kombu has no types
    """The transport; its option ``ledger`` is the worker's."""

    Channel = Channel
    _repeated: tuple[Any, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the loop look for urgent messages as well."""
        super().register_with_event_loop(connection, loop)
        for timer in Transport._repeated:  # those of a connection before this one
            timer.cancel()
        calls = ((CROWDED_S, self.cycle.look), (TURN_S, self.client.transport_options["turned"]))
        Transport._repeated = tuple(loop.call_repeatedly(seconds, call) for seconds, call in calls)

    def establish_connection(self) -> Any:
        """Connect; wait here for a Redis that does not answer or takes no writes.

        Celery's own pauses grow to half a minute, and a refused write would end the worker.
        """
        ledger = self.client.transport_options["ledger"]
        while True:
            try:
                ledger.probe()
                break
            except redis.RedisError as error:
                if isinstance(error, redis.ResponseError) and not takes_no_writes(error):
                    raise
                ledger.reconnect()
                self.client.transport_options["turned"]()
                metrics.RETRIES.labels("redis").inc()
                log.warning("Redis away or not writable, waiting", action="redis_waiting", error=str(error))
                maybe_shutdown()
                time.sleep(PAUSE_S)
        return super().establish_connection()


def _burial(taken: Taken, error: Exception, task_id: str) -> Burial:
    raw = taken.text[:RAW_KEPT].decode(errors="replace")
    whole = taken.size <= RAW_KEPT and raw.encode() == taken.text
    return Burial.of(taken.tag, error, task_id=task_id, raw=raw, whole=whole, lane=taken.lane)


def broker_url(url: str) -> str:
    """Return the URL under which Celery takes this transport, for one under which it takes kombu's own."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("seedmill", "seedmills"), f"{__name__}:Transport"))
    scheme, _, rest = url.partition("://")
    return f"{SCHEMES[scheme]}://{rest}"
