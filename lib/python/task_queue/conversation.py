"""The requests between a worker and the broker. All of them are POST /work:

1. Acks, leases that are due to be extended and free slots go together in one request, the exchange. One thread sends
   them, and what comes up meanwhile waits for the next, so under load one request carries a batch.
2. If there is nothing to send and slots are free, a second thread waits for tasks with a long poll.
3. An ack is kept and repeated until the broker has answered it. That is safe, because it names its lease. If the broker
   refuses a result for good, the task is acked as failed with that explanation.
4. A request that is refused as a whole is halved until one item is alone, so a bad item affects only itself.
5. While the broker is unreachable, everything is kept and retried. Leases lapse by the worker's clock.
"""
from __future__ import annotations

import logging
import math
import random
import threading
import time
from typing import Any, Callable

from .api import LeasedTask
from .lease import Lease, TaskCancelled
from .transport import BrokerProblem, Cancellation, TaskQueueError, Transport

MAX_BATCH = 1_000
MAX_UNANSWERED_ACKS = 1_000  # with so many, no new tasks are fetched
SEND_INFO_EVERY = 60.0  # seconds, because the broker may have forgotten the worker
MIN_EXCHANGE, MAX_EXCHANGE = 0.5, 10.0  # seconds: a third of the shortest lease, within these bounds
FIRST_RETRY, LAST_RETRY = 0.1, 5.0  # seconds
MAX_RETRY_AFTER = 60.0
WAIT_MS = 20_000

log = logging.getLogger("task_queue")

LOST_CODES = ("lease_lost", "not_leased", "task_not_found", "task_gone")
BAD_BODY_STATUSES = (400, 403, 413, 422)


class Conversation:
    def __init__(
        self,
        transport: Transport,
        name: str,
        info: dict[str, Any],
        queues: list[str],
        condition: threading.Condition,
        free_slots: Callable[[], int],
        on_lease: Callable[[Lease], None],
    ) -> None:
        self._transport, self._name, self._info, self._queues = transport, name, info, queues
        self._condition, self._free_slots, self._on_lease = condition, free_slots, on_lease
        self._leases: dict[str, Lease] = {}
        self._acks: list[tuple[dict[str, Any], Lease]] = []
        self._limit = MAX_BATCH  # acks and extensions in one request
        self._exchanging = False
        self._requested = 0  # tasks that the requests in flight ask for
        self._paused_until = self._poll_at = 0.0
        self._info_sent_at = -math.inf
        self._failures = 0
        self._last_failure = ""
        self._is_fetching, self._is_closed = True, False
        self._polls = Cancellation()
        self.is_draining = False
        self.last_answer_at: float | None = None
        """Seconds since 1970."""
        self.waiting_since: float | None = None
        """By time.monotonic(): since when a request has waited for an answer, across repeats. A worker whose slots are full may
        have nothing to ask for hours, so a silence without a request is no fault."""
        self._in_flight = 0
        for run in (self._exchange_loop, self._poll_loop):
            threading.Thread(target=run, name=run.__name__.strip("_"), daemon=True).start()

    # All of these are called with the condition held.

    @property
    def unanswered(self) -> int:
        return len(self._acks)

    @property
    def is_idle(self) -> bool:
        """Whether no ack is pending and no request in flight can bring tasks."""
        return not self._acks and self._requested == 0 and not self._exchanging

    def settle(self, lease: Lease, outcome: dict[str, Any]) -> None:
        """Queues the ack of a lease."""
        self._drop(lease)
        lease.is_over = True
        self._acks.append(({"task_id": lease.id, "lease": lease.token, **outcome}, lease))
        self._condition.notify_all()

    def stop_fetching(self) -> None:
        """Fetches no more tasks, and ends the poll, so that the broker releases what it has just leased for it."""
        self._is_fetching = False
        self._polls.set()
        self._condition.notify_all()

    def close(self) -> None:
        self.stop_fetching()
        self._is_closed = True
        self._condition.notify_all()

    def _asks(self) -> None:
        self._in_flight += 1
        if self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def _is_answered(self, has_answer: bool) -> None:
        self._in_flight -= 1
        if has_answer:
            self.waiting_since = time.monotonic() if self._in_flight > 0 else None
        elif self._in_flight == 0 and not self._is_fetching and not self._acks:
            self.waiting_since = None  # the worker gave the request up

    @property
    def _wanted(self) -> int:
        if not self._is_fetching:
            return 0
        return max(0, min(self._free_slots() - self._requested, MAX_UNANSWERED_ACKS - len(self._acks), MAX_BATCH))

    def _poll_loop(self) -> None:
        while True:
            with self._condition:
                while not self._is_closed and self._is_fetching:
                    wait = max(self._paused_until, self._poll_at) - time.monotonic()
                    if wait <= 0 and self._wanted > 0 and not self._acks and not self._exchanging:
                        break
                    self._condition.wait(wait if wait > 0 else None)
                if self._is_closed or not self._is_fetching:
                    return
                most = self._wanted
                self._requested += most
                self._asks()
                request = {**self._worker_info(), "queues": self._queues, "max": most, "wait_ms": WAIT_MS}
            sent_at = time.monotonic()
            try:
                answer = self._transport.call("POST", "/work", [], request, cancellation=self._polls)
                error = None
            except TaskQueueError as failure:
                answer, error = None, failure
            with self._condition:
                self._requested -= most
                self._is_answered(answer is not None)
                if answer is not None:
                    self._succeeded()
                    self._apply(answer)
                    # A broker that shuts down answers early. Wait a moment, so as not to flood the next one.
                    if not answer["tasks"] and time.monotonic() - sent_at < WAIT_MS / 2000:
                        self._poll_at = time.monotonic() + random.uniform(0.25, 0.75)
                elif error is not None and self._is_fetching:
                    self._failed(error, [])
                self._condition.notify_all()

    def _exchange_loop(self) -> None:
        while True:
            with self._condition:
                while not self._is_closed and not self._is_exchange_due():
                    self._condition.wait(self._until_next())
                if self._is_closed:
                    return
                now = time.monotonic()
                # Leases that will be due soon go along.
                soon = [t for t in self._leases.values() if t.extend_at <= now + t.timeout / 12 or t.update_at <= now]
                leases = soon[: self._limit]
                acks = self._acks[: self._limit - len(leases)]
                # The last update of an attempt that is over goes along with its ack.
                extended = leases + [lease for _, lease in acks if lease.update_at < math.inf]
                # A single item is sent without a request for tasks, so that a refusal can only concern that item.
                most = 0 if self._limit == 1 or now < self._paused_until else self._wanted
                request: dict[str, Any] = {
                    **self._worker_info(),
                    "settle": [ack for ack, _ in acks],
                    "extend": [lease.take_extension() for lease in extended],
                    **({"queues": self._queues, "max": most} if most > 0 else {}),
                }
                shortest = min((lease.timeout / 3 for lease in self._leases.values()), default=MAX_EXCHANGE)
                timeout = max(MIN_EXCHANGE, min(MAX_EXCHANGE, shortest))
                self._exchanging = True
                self._requested += most
                self._asks()
            try:
                answer = self._transport.call("POST", "/work", [], request, timeout)
                error = None
            except TaskQueueError as failure:
                answer, error = None, failure
            with self._condition:
                self._exchanging = False
                self._requested -= most
                self._is_answered(answer is not None)
                if answer is not None:
                    self._limit = min(self._limit * 2, MAX_BATCH) if len(acks) < len(self._acks) else MAX_BATCH
                    self._apply_items(answer, extended, acks, now)
                    self._apply(answer)
                elif isinstance(error, BrokerProblem) and error.status in BAD_BODY_STATUSES:
                    if self._limit > 1:
                        for lease in extended:
                            lease.retry_update(0)
                        self._limit = max(1, math.ceil((len(leases) + len(acks)) / 2))
                    elif extended and extended[0].has_sent_update:
                        self._refuse_update(extended[0], error)
                    elif acks:
                        self._apply_settled(acks, [error.problem | {"status": error.status}])
                    else:
                        self._failed(error, extended)
                elif error is not None:
                    self._failed(error, extended)
                self._condition.notify_all()

    def _is_exchange_due(self) -> bool:
        now = time.monotonic()
        for lease in list(self._leases.values()):
            if lease.lapses_at <= now:
                at_end = lease.lapses_at == lease.ends_at
                self._lose(lease, "it reached its max_runtime_ms" if at_end else "the broker did not extend it in time")
        is_paused = now < self._paused_until
        if any(lease.extend_at <= now or (lease.update_at <= now and not is_paused) for lease in self._leases.values()):
            return True
        return bool(self._acks) and not is_paused

    def _until_next(self) -> float | None:
        """Seconds until something is due; None if only a notification can change that."""
        at = self._paused_until if self._acks else math.inf
        for lease in self._leases.values():
            at = min(at, lease.lapses_at, lease.extend_at, max(lease.update_at, self._paused_until))
        return None if at == math.inf else max(0.0, at - time.monotonic())

    def _worker_info(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._info_sent_at < SEND_INFO_EVERY:
            return {"worker": self._name, "instance": self._info["instance"]}
        self._info_sent_at = now
        return {"worker": self._name, **self._info}

    def _succeeded(self) -> None:
        self.last_answer_at = time.time()
        if self._failures:
            log.info("The broker answers again (failures: %d)", self._failures)
        self._failures, self._last_failure, self._paused_until = 0, "", 0.0

    def _failed(self, error: Exception, extended: list[Lease]) -> None:
        """Waits grow exponentially and have jitter, so that a fleet of workers does not reconnect at the same moment."""
        if str(error) != self._last_failure:
            self._last_failure = str(error)
            if getattr(error, "status", 0) == 401:
                log.error("The worker leases no tasks and keeps its acks: the broker refuses its token. "
                          "Set API_SECRET_TOKEN to a token that the broker knows: %s", error)
            else:
                log.warning("The worker leases no tasks and keeps its acks until the broker answers: %s", error)
        most = LAST_RETRY if getattr(error, "status", 0) == 401 else min(LAST_RETRY, FIRST_RETRY * 2 ** min(self._failures, 20))
        self._failures += 1
        again = most * random.uniform(0.5, 1) + min(MAX_RETRY_AFTER, getattr(error, "retry_after", None) or 0)
        self._info_sent_at = -math.inf  # the broker may not have received it
        self._paused_until = max(self._paused_until, time.monotonic() + again)
        for lease in extended:
            lease.retry_update(again)

    def _apply(self, answer: dict[str, Any]) -> None:
        for id in answer["cancelled"]:
            self._cancel(self._leases.get(id))
        for leased in answer["tasks"]:
            self._begin(leased)
        if answer.get("drain"):
            self.is_draining = True
            self.stop_fetching()

    def _begin(self, leased: LeasedTask) -> None:
        before = self._leases.get(leased["id"])
        if before is not None:
            self._lose(before, f"attempt {leased['attempt']} of the task has started")
        lease = Lease(leased, self._condition)
        self._leases[lease.id] = lease
        self._on_lease(lease)

    def _drop(self, lease: Lease) -> None:
        if self._leases.get(lease.id) is lease:
            del self._leases[lease.id]

    def _cancel(self, lease: Lease | None) -> None:
        if lease is not None:
            lease.abort(TaskCancelled(f"task {lease.id} was cancelled"))

    def _lose(self, lease: Lease, why: str) -> None:
        self._drop(lease)
        lease.lose(why)
        log.warning("The lease of task %s was lost: %s", lease.id, why)

    def _apply_items(
        self, answer: dict[str, Any], extended: list[Lease], acks: list[tuple[dict[str, Any], Lease]], sent_at: float
    ) -> None:
        retried: list[Lease] = []
        failures: list[BrokerProblem] = []
        for lease, item in zip(extended, answer["extended"]):
            problem = _problem_of(item)
            if problem is None:
                lease.mark_extended(sent_at)
                if item["status"] == "cancelled":
                    self._cancel(lease)
            elif problem.code in LOST_CODES:
                if self._leases.get(lease.id) is lease:
                    self._lose(lease, str(problem))
                else:
                    lease.drop_update(problem)
            elif lease.has_sent_update and _is_final(problem):
                self._refuse_update(lease, problem)
            else:
                retried.append(lease)
                failures.append(problem)
        failures += self._apply_settled(acks, answer["settled"])
        if failures:
            self._failed(failures[0], retried)
        else:
            self._succeeded()

    def _refuse_update(self, lease: Lease, error: Exception) -> None:
        log.error("The progress, checkpoint or log lines of task %s were refused: %s", lease.id, error)
        lease.drop_update(error)
        lease.retry_update(0)

    def _apply_settled(self, acks: list[tuple[dict[str, Any], Lease]], items: list[Any]) -> list[BrokerProblem]:
        """Keeps the acks that must be sent again. Returns the errors of those that are to be retried unchanged."""
        again: list[tuple[dict[str, Any], Lease]] = []
        failures: list[BrokerProblem] = []
        for (ack, lease), item in zip(acks, items):
            problem = _problem_of(item)
            if problem is not None and not _is_final(problem):
                again.append((ack, lease))
                failures.append(problem)
            elif problem is not None and problem.code not in LOST_CODES and ack["status"] == "done":
                log.error("The result of task %s was refused, so the task counts as failed: %s", lease.id, problem)
                text = f"the broker refused the handler's result: {problem}"
                again.append(({"task_id": lease.id, "lease": ack["lease"], "status": "failed", "error": text}, lease))
            else:
                if problem is not None:
                    log.warning("The outcome of task %s was discarded: %s", lease.id, problem)
                elif item["status"] == "moved_to_dlq":
                    log.warning("Task %s of type %s is dead", lease.id, lease.type)
                lease.drop_update(RuntimeError("not stored: the attempt is over"))
        self._acks = again + self._acks[len(acks) :]
        return failures


def _problem_of(item: dict[str, Any]) -> BrokerProblem | None:
    """The problem that an item of an answer is, if it is one."""
    return BrokerProblem(item["status"], item) if isinstance(item.get("status"), int) else None


def _is_final(problem: BrokerProblem) -> bool:
    """Whether sending the same item again would get the same answer."""
    return not problem.retryable and problem.status < 500
