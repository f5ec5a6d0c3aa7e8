"""An HTTP proxy in front of a store that refuses, answers or loses chosen requests, and counts them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Seen:
    """One request: its number from 1 on, method and path with query."""

    number: int
    method: str
    path: str


@dataclass(frozen=True)
class Say:
    """An answer in the store's place."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


# What a plan may say of a request: the store never gets it; it gets it, but its answer is lost.
REFUSE, LOSE = "refuse", "lose"
Plan = Callable[[Seen], "Say | str | None"]


class Proxy:
    """Forwards to `upstream`; `plan` may be changed at any time, and counts begin anew with `reset`."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = lambda seen: None
        self.seen: list[Seen] = []
        self._guard = threading.Lock()
        self._upstream = urlsplit(upstream).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one(self) -> None:
                proxy.serve(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Tests look at `seen`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self, plan: Plan = lambda seen: None) -> None:
        with self._guard:
            self.seen, self.plan = [], plan

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = self._body(handler)
        with self._guard:
            seen = Seen(len(self.seen) + 1, handler.command, handler.path)
            self.seen.append(seen)
            fault = self.plan(seen)
        if isinstance(fault, Say):
            self._answer(handler, fault.status, list(fault.headers), fault.body)
            return
        if fault != REFUSE:
            status, headers, data = self._forward(handler, body)
            if fault != LOSE:
                self._answer(handler, status, headers, data)
                return
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.close()

    def _body(self, handler: BaseHTTPRequestHandler) -> bytes:
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(
        self, handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes
    ) -> None:
        with suppress(OSError):
            handler.send_response(status)
            named = {name.lower(): (name, value) for name, value in headers}
            for key, (name, value) in named.items():
                if key not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    handler.send_header(name, value)
            length = (
                named["content-length"][1] if handler.command == "HEAD" and "content-length" in named else len(data)
            )
            handler.send_header("Content-Length", str(length))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(data)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
