"""The worker's health over HTTP, for probes: 200, or 503 if a request has waited for an answer of the broker for a minute."""
from __future__ import annotations

import json
import mmap
import struct
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

MAX_SILENCE = 60.0  # seconds that a request may wait, across repeats
FORM = struct.Struct("ddd")


class Health:
    """Memory that a process of the worker shares with the one that serves its health."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, FORM.size)

    def report(self, last_answer_at: float | None, waiting_since: float | None, in_hand: int) -> None:
        """`last_answer_at`: seconds since 1970; `waiting_since`: when a request began to wait for an answer, by time.monotonic(),
        which all processes share."""
        self._memory[:] = FORM.pack(last_answer_at or 0, waiting_since or 0, in_hand)

    def read(self) -> tuple[float, float, int]:
        """What was reported last; all 0 before the first report."""
        last, waiting_since, in_hand = FORM.unpack(self._memory[:])
        return last, waiting_since, int(in_hand)

    @property
    def is_good(self) -> bool:
        waiting_since = self.read()[1]
        return not waiting_since or time.monotonic() - waiting_since < MAX_SILENCE


class HealthServer:
    """Port 0: nothing is served."""

    def __init__(self, port: int, healths: list[Health]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 1  # a client that sends nothing must not delay the others

            def do_GET(self) -> None:
                last = max(health.read()[0] for health in healths)
                body = {
                    "last_answer_at": int(last * 1000) or None,
                    "in_hand": sum(health.read()[2] for health in healths),
                }
                text = json.dumps(body).encode()
                self.send_response(200 if all(health.is_good for health in healths) else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = HTTPServer(("", port), Handler) if port else None

    def serve(self, seconds: float | None = None) -> None:
        """Answers requests forever, or at most one within `seconds`."""
        if self._server is None:
            if seconds is not None:
                time.sleep(seconds)
        elif seconds is None:
            self._server.serve_forever()
        else:
            self._server.timeout = seconds
            self._server.handle_request()

    def close(self) -> None:
        if self._server is not None:
            self._server.socket.close()

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
