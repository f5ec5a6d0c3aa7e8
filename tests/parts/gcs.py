"""Google Cloud Storage as far as its XML interface is S3's: moto behind a translation of headers, with generations."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, unquote

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec
from tests.parts.objects import S3
from tests.parts.proxy import Proxy

# moto looks who asks, not whether it is true.
_LOGIN = "AWS4-HMAC-SHA256 Credential=AKIATESTS/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_CONDITION = "x-goog-if-generation-match"
Answer = tuple[int, list[tuple[str, str]], bytes]


class Gcs(Proxy):
    """A store that counts generations of each object, as Google's does, in front of S3."""

    def __init__(self, s3: S3) -> None:
        super().__init__(s3.url)
        self._s3 = s3
        self._generations: dict[str, int] = {}
        self._count = itertools.count(1000)
        self._writing = threading.Lock()

    def new_bucket(self) -> str:
        return self._s3.new_bucket()

    def connection(self, bucket: str, prefix: str = "", **more: Any) -> ConnectionSpec:
        # The client's own way of talking to a store that asks for no login.
        key = {
            "gcs_base_url": self.url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        options = {"endpoint": self.url, "service_account_key": Secret(json.dumps(key)), **more}
        return ConnectionSpec("lake", f"gs://{bucket}/{prefix}".rstrip("/"), options)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer:
        path, mark, query = handler.path.partition("?")
        headers = {name.lower(): value for name, value in handler.headers.items() if name.lower() != "authorization"}
        headers["authorization"] = _LOGIN
        if handler.command in ("GET", "HEAD"):
            return self._answered(handler, unquote(path), f"{mark}{query}", headers, body)
        with self._writing:
            wanted = headers.pop(_CONDITION, None)
            if wanted is not None and int(wanted) != self._generations.get(unquote(path), 0):
                return 412, [], b"<Error><Code>PreconditionFailed</Code></Error>"
            return self._answered(handler, unquote(path), f"{mark}{query}", headers, body)

    def _answered(
        self, handler: BaseHTTPRequestHandler, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> Answer:
        if "x-goog-copy-source" in headers:
            headers["x-amz-copy-source"] = quote(unquote(headers.pop("x-goog-copy-source")))
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.request(handler.command, quote(path) + query, body, headers)
            answer = connection.getresponse()
            status, found, data = answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()
        if status < 300 and "partNumber" not in query and "uploads" not in query:
            if handler.command in ("PUT", "POST"):
                self._generations[path] = next(self._count)
            elif handler.command == "DELETE":
                self._generations.pop(path, None)
        if path in self._generations:
            found = [*found, ("x-goog-generation", str(self._generations[path]))]
        return status, found, data
