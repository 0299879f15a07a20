"""Requests to the broker over HTTP/1.1 with connections that are kept open, and the errors that calls raise."""
from __future__ import annotations

import asyncio
import http.client
import json
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode, urlsplit

RETRYABLE = (429, 502, 503, 504)
DEFAULT_TIMEOUT = 10.0  # seconds
EVENTS_SILENT = 45.0  # seconds; a stream that is silent for longer has a dead connection
RECONNECT = 1.0  # seconds


class TaskQueueError(Exception):
    """The base of all errors that calls raise."""

    retryable = False
    """Whether the same request can succeed later."""


class BrokerUnreachable(TaskQueueError):
    """No connection, no answer in time, or an unreadable answer. The broker may have done what was requested."""

    retryable = True


class BrokerProblem(TaskQueueError):
    """The broker, or a proxy in front of it, refused the request."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.problem = problem
        """The whole problem, with `field`, `state` and others."""
        self.code: str = problem.get("code", "unknown")
        self.detail: str | None = problem.get("detail")
        self.retry_after = retry_after
        """Seconds to wait before the next request, as the broker asks."""
        self.retryable = status in RETRYABLE
        text = f"{problem.get('error', 'the answer does not come from a broker')} ({status} {self.code})"
        super().__init__(text if self.detail in (None, problem.get("error")) else f"{text}: {self.detail}")


class Event(NamedTuple):
    """An event of the broker. `id` is None for events that cannot be continued from."""

    id: str | None
    event: str
    data: dict[str, Any]


class Cancellation:
    """Lets another thread end a request that waits for its answer, by closing its connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.is_set = False

    def watch(self, connected: socket.socket | None) -> None:
        with self._lock:
            self._socket = connected
            if self.is_set:
                self._close()

    def set(self) -> None:
        with self._lock:
            self.is_set = True
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


class Transport:
    """Sends requests. May be used by several threads: each request takes a connection of its own."""

    def __init__(
        self,
        url: str = "http://localhost:5000",
        token: str | Callable[[], str] = "",
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout`: seconds to wait for an answer; the `wait_ms` of a request is added. Proxies are not used."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a broker looks like http://localhost:5000, not {url!r}")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._token = token
        self._timeout = timeout
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        parameters: list[tuple[str, str, Any]],
        body: Any = None,
        timeout: float | None = None,
        *,
        is_text: bool = False,
        cancellation: Cancellation | None = None,
    ) -> Any:
        """Sends one request. `parameters`: (place, name, value), a place being "path", "query" or "header"; None: not sent."""
        target, headers = self._request_of(path, parameters)
        data = None
        if body is not None:
            data = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        waits = [value for _, name, value in parameters if name == "wait_ms" and value is not None]
        if isinstance(body, dict):
            waits.append(cast("dict[str, Any]", body).get("wait_ms", 0))
        limit = (self._timeout if timeout is None else timeout) + sum(waits) / 1000
        connection = self._take_connection(limit)
        keep = False
        try:
            if cancellation is not None:
                cancellation.watch(connection.sock)
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            text = answer.read()
            keep = not answer.will_close
        except (OSError, http.client.HTTPException) as error:
            raise BrokerUnreachable(f"{method} {path}: {_describe(error, limit)}") from error
        finally:
            if cancellation is not None:
                cancellation.watch(None)
            if keep:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()
        if answer.status == 204:
            return None
        if answer.status == 200 and is_text:
            return text.decode()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if answer.status == 200:
            if value is None and text != b"null":
                raise BrokerUnreachable(f"{method} {path}: the answer is not JSON; is this the address of a broker?")
            return value
        problem = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        raise BrokerProblem(answer.status, problem, _seconds(answer.headers.get("Retry-After")))

    def events(self, path: str, parameters: list[tuple[str, str, Any]]) -> Iterator[Event]:
        """Yields events forever. After a lost connection it continues after the last event."""
        given = {name: value for _, name, value in parameters}
        last_id, retry = given.get("last_event_id"), RECONNECT
        while True:
            known = [p if p[1] != "last_event_id" else (p[0], p[1], last_id) for p in parameters]
            target, headers = self._request_of(path, known)
            connection = None
            try:
                connection = self._take_connection(EVENTS_SILENT)
                connection.request("GET", target, None, {**headers, "Accept": "text/event-stream"})
                answer = connection.getresponse()
                if answer.status != 200:
                    problem = json.loads(answer.read() or b"{}")
                    error = BrokerProblem(answer.status, problem, _seconds(answer.headers.get("Retry-After")))
                    if not error.retryable:
                        raise error
                    retry = error.retry_after or RECONNECT
                else:
                    fields: dict[str, str] = {}
                    while line := answer.readline():
                        text = line.decode().rstrip("\r\n")
                        name, _, value = text.partition(":")
                        if name:
                            fields[name] = value[1:] if value.startswith(" ") else value
                        elif text == "":
                            read, fields = fields, {}
                            last_id = read.get("id", last_id)  # also of a heartbeat, which has no data
                            if (wait := _seconds(read.get("retry"))) is not None:
                                retry = wait / 1000
                            if "data" in read:
                                yield Event(read.get("id"), read.get("event", "message"), json.loads(read["data"]))
            except (BrokerUnreachable, OSError, http.client.HTTPException, ValueError):
                pass  # reconnect
            finally:
                if connection is not None:
                    connection.close()
            time.sleep(retry * random.uniform(0.5, 1))

    def _request_of(self, path: str, parameters: list[tuple[str, str, Any]]) -> tuple[str, dict[str, str]]:
        token = self._token if isinstance(self._token, str) else self._token()
        headers = {"X-API-Token": token, "Accept": "application/json"}
        query: list[tuple[str, str]] = []
        for place, name, value in parameters:
            if value is None:
                continue
            if place == "path":
                path = path.replace("{" + name + "}", quote(_text(value), safe=""))
            elif place == "header":
                headers[name] = _text(value)
            elif name.endswith(".*"):
                query += [(name[:-1] + label, _text(each)) for label, each in value.items()]
            else:
                query.append((name, ",".join(map(_text, cast("list[Any]", value))) if isinstance(value, list) else _text(value)))
        return self._prefix + path + ("?" + urlencode(query) if query else ""), headers

    def _take_connection(self, timeout: float) -> http.client.HTTPConnection:
        """An idle connection that the broker has not closed, or a new one."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout)
                return connection
            connection.close()
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            shown = f"{self._host}:{connection.port}"
            raise BrokerUnreachable(f"the broker at {shown} cannot be reached: {_describe(error, timeout)}") from error
        return connection


class AsyncTransport:
    """The same for asyncio. Each request runs in a thread of a pool, because the standard library has no HTTP client
    for asyncio. A request whose coroutine is cancelled still reaches the broker."""

    def __init__(
        self,
        url: str = "http://localhost:5000",
        token: str | Callable[[], str] = "",
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: ssl.SSLContext | None = None,
        connections: int = 16,
    ) -> None:
        """`connections`: how many requests may be in flight at a time; a request that waits for tasks takes one."""
        self._transport = Transport(url, token, timeout=timeout, tls=tls)
        self._threads = ThreadPoolExecutor(connections, "task-queue")

    async def call(self, *arguments: Any, **options: Any) -> Any:
        call = lambda: self._transport.call(*arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def events(self, path: str, parameters: list[tuple[str, str, Any]]) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        events = self._transport.events(path, parameters)
        while True:
            event = await loop.run_in_executor(self._threads, next, events)
            yield event

    async def close(self) -> None:
        self._transport.close()
        self._threads.shutdown(wait=False)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _describe(error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError) or isinstance(error, socket.timeout):
        return f"no answer within {timeout:g} s"
    return str(error) or type(error).__name__
