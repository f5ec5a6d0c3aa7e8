"""What HTTP response headers say about rate limits: how long to wait, and what is left of which quota. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z")

# Numbers above this are points in time (seconds since 1970) where a header may hold either; above the second, milliseconds.
_EPOCH_S = 1e9
_EPOCH_MS = 1e12


@dataclass(frozen=True)
class RateHint:
    """What one response said. Times are seconds from the moment of the response; None is not said.

    `retry_after_s` comes from Retry-After. `limit` calls may be made in `window_s`; `remaining` of them are left, and the
    quota is whole again after `reset_s`. Of several quotas it is the one with the least remaining.
    """

    retry_after_s: float | None = None
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None
    window_s: float | None = None

    @property
    def wait_s(self) -> float | None:
        """How long to make no call: Retry-After, or else the reset of a quota of which nothing is left; None if neither."""
        if self.retry_after_s is not None:
            return self.retry_after_s
        return self.reset_s if self.remaining is not None and self.remaining <= 0 else None


def rate_hint(headers: Mapping[str, str], now: datetime) -> RateHint:
    """Read Retry-After, RateLimit, RateLimit-Policy, RateLimit-* and X-RateLimit-* (the first family that is there).

    Header names in any case. `now` is the present in UTC; where the response has a Date header, that is used instead, so
    that clocks which differ do no harm. What cannot be understood counts as not said.

    Sources: RFC 9110 section 10.2.3 (Retry-After) and 6.6.1 (Date); draft-ietf-httpapi-ratelimit-headers, revision 08 and
    later (RateLimit: "name";r=…;t=… with RateLimit-Policy: "name";q=…;w=…; Retry-After takes precedence, malformed fields
    are ignored), 07 (RateLimit: limit=…, remaining=…, reset=…) and 06 and before (RateLimit-Limit, -Remaining, -Reset).
    X-RateLimit-Reset has no standard: seconds, a point in time as seconds or milliseconds since 1970, or a date.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    now = _date(fields.get("date", "")) or now
    wait_s = retry_after_s(fields.get("retry-after"), now)
    quota = _from_structured(fields) or _from_triple(fields, now)
    return RateHint(wait_s, *quota) if quota else RateHint(wait_s)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds to wait for a Retry-After of `value`: a number of seconds or an HTTP date; one in the past gives 0.

    None for a missing or unreadable value. Decimals are accepted though RFC 9110 has none: some servers send them.
    """
    text = (value or "").strip()
    if _NUMBER.match(text):
        return max(0.0, float(text))
    at = _date(text)
    return max(0.0, (at - now).total_seconds()) if at else None


Quota = tuple[float | None, float | None, float | None, float | None]


def _from_structured(fields: Mapping[str, str]) -> Quota | None:
    policies = dict(_members(fields.get("ratelimit-policy", "")))
    quotas: list[Quota] = []
    for name, parameters in _members(fields.get("ratelimit", "")):
        if (remaining := _number(parameters.get("r"))) is not None:
            policy = policies.get(name, {})
            reset_s = _number(parameters.get("t"))
            quotas.append((_number(policy.get("q")), remaining, reset_s, _number(policy.get("w"))))
    if quotas:
        return min(quotas, key=lambda quota: (quota[1] or 0.0, -(quota[2] or 0.0)))
    flat = dict(part.split("=", 1) for part in re.split(r"\s*,\s*", fields.get("ratelimit", "")) if "=" in part)
    if "remaining" in flat:
        return _number(flat.get("limit")), _number(flat["remaining"]), _number(flat.get("reset")), None
    return None


def _from_triple(fields: Mapping[str, str], now: datetime) -> Quota | None:
    for prefix in ("ratelimit-", "x-ratelimit-", "x-rate-limit-"):
        limit, remaining, reset = (fields.get(prefix + part) for part in ("limit", "remaining", "reset"))
        if limit is None and remaining is None and reset is None:
            continue
        # Revisions before 07 allow policies behind the limit: "10, 10;w=1, 50;w=60".
        amount = (limit or "").partition(",")[0].partition(";")[0]
        window_s = next((_number(p["w"]) for n, p in _members(limit or "") if n == amount.strip() and "w" in p), None)
        return _number(amount), _number(remaining), _reset_s(reset, now), window_s
    return None


def _reset_s(value: str | None, now: datetime) -> float | None:
    text = (value or "").strip()
    number = _number(text)
    if number is None:
        at = _date(text)
        return max(0.0, (at - now).total_seconds()) if at else None
    if number >= _EPOCH_MS:
        number /= 1000.0
    return max(0.0, number - now.timestamp()) if number >= _EPOCH_S else max(0.0, number)


def _members(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The members of a structured list (RFC 9651), `"a";r=1;t=2, "b";r=3`, as name and parameters."""
    for member in _split(text, ","):
        parts = _split(member, ";")
        if not parts:
            continue
        parameters = dict(pair.split("=", 1) for pair in parts[1:] if "=" in pair)
        yield parts[0].strip('"'), {key.strip(): value.strip().strip('"') for key, value in parameters.items()}


def _split(text: str, mark: str) -> list[str]:
    """Parts between marks that stand outside quotes, trimmed, without empty ones."""
    parts = re.findall(rf'(?:"(?:\\.|[^"\\])*"|[^{mark}"]|")+', text)
    return [part.strip() for part in parts if part.strip()]


def _number(value: str | None) -> float | None:
    text = (value or "").strip()
    return float(text) if _NUMBER.match(text) else None


def _date(text: str) -> datetime | None:
    """An HTTP date in any of its three forms (RFC 9110 section 5.6.7) or an ISO 8601 time; without zone it is UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return None
