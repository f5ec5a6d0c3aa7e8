"""The one limiter of each host and credential, whoever asks for it."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, RateSpec
from penstock.engine.clock import SYSTEM_CLOCK, Clock
from penstock.engine.limits.limiter import Limiter, LimiterState


@dataclass(frozen=True)
class LimitKey:
    """Who is limited: a host (with port) and the fingerprint of the credential used there; holds no secret."""

    host: str
    credential: str


class Limiters:
    """All limiters of a process. May be used from any thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limiters: dict[LimitKey, Limiter] = {}
        # Fingerprints are salted per process: nothing that could be compared with a list of known secrets leaves it.
        self._salt = os.urandom(16)

    def of(self, spec: ConnectionSpec) -> Limiter:
        """The limiter of a connection's host and credential, made on first use.

        Connections that share both share the limiter; where they state different limits the stricter of each holds, from
        the moment it is stated (see `stricter`).
        """
        return self.get(self.key(spec), spec.rate)

    def get(self, key: LimitKey, rate: RateSpec) -> Limiter:
        """The limiter of `key`, made on first use, tightened to `rate` where that is stricter."""
        with self._lock:
            limiter = self._limiters.get(key)
            if limiter is None:
                limiter = self._limiters[key] = Limiter(rate, name=key.host, clock=self._clock)
                return limiter
        limiter.tighten(rate)
        return limiter

    def key(self, spec: ConnectionSpec) -> LimitKey:
        """Host and credential of a connection. The credential is user, password and every secret option together."""
        host, user = _host_and_user(spec.url)
        parts = [user, spec.password.reveal() if spec.password else ""]
        for name, value in sorted(spec.options.items()):
            if isinstance(value, Secret):
                parts += [name, value.reveal()]
        text = "".join(f"{len(part)}:{part}" for part in parts)
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=self._salt)
        return LimitKey(host, digest.hexdigest())

    def states(self) -> list[LimiterState]:
        """The state of every limiter, by name."""
        with self._lock:
            limiters = list(self._limiters.values())
        return sorted((limiter.state() for limiter in limiters), key=lambda state: state.name)


def _host_and_user(url: str) -> tuple[str, str]:
    """Host (with port) and user of `scheme://user@host:port/…` or `scheme:https://host/…`; a URL without host is its own."""
    rest = url
    while True:
        parts = urlsplit(rest)
        if parts.hostname:
            port = f":{parts.port}" if parts.port else ""
            return f"{parts.hostname}{port}", parts.username or ""
        scheme, colon, tail = rest.partition(":")
        if not colon or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
            return url, ""
        rest = tail
