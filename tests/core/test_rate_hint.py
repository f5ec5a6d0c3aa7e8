"""Rate limit headers are read as their specifications say, and nothing unreadable does harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.rate_hint import RateHint, rate_hint, retry_after_s

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-30", 0.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thursday, 01-Jan-26 12:01:30 GMT", 90.0),
        ("Thu Jan  1 12:01:30 2026", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_every_form_of_rfc_9110(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, NOW) == expected


@given(st.integers(0, 10**7))
def test_retry_after_as_date_and_as_seconds_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert retry_after_s(date, NOW) == retry_after_s(str(seconds), NOW)


def test_dates_are_measured_against_the_clock_of_the_server() -> None:
    headers = {"Retry-After": "Thu, 01 Jan 2026 15:00:10 GMT", "Date": "Thu, 01 Jan 2026 15:00:00 GMT"}

    assert rate_hint(headers, NOW).wait_s == 10.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
            RateHint(limit=100, remaining=50, reset_s=30, window_s=60),
        ),
        ({"ratelimit": "default;r=0;t=9"}, RateHint(remaining=0, reset_s=9)),
        (
            {
                "RateLimit": "minute;r=20;t=23, hour;r=3;t=2402",
                "RateLimit-Policy": "minute;q=50;w=60, hour;q=1000;w=3600",
            },
            RateHint(limit=1000, remaining=3, reset_s=2402, window_s=3600),
        ),
        (
            {"RateLimit": '"a;b,c";r=4;t=1', "RateLimit-Policy": '"a;b,c";q=9'},
            RateHint(limit=9, remaining=4, reset_s=1),
        ),
        ({"RateLimit": "limit=100, remaining=7, reset=5"}, RateHint(limit=100, remaining=7, reset_s=5)),
        (
            {"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "1"},
            RateHint(limit=10, remaining=9, reset_s=1, window_s=1),
        ),
        (
            {
                "X-RateLimit-Limit": "5000",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": f"{NOW.timestamp() + 90:.0f}",
            },
            RateHint(limit=5000, remaining=0, reset_s=90),
        ),
        ({"X-RateLimit-Reset": f"{NOW.timestamp() * 1000 + 1500:.0f}"}, RateHint(reset_s=1.5)),
        ({"X-RateLimit-Reset": "2026-01-01T12:00:30Z"}, RateHint(reset_s=30)),
        ({"X-Rate-Limit-Remaining": "3"}, RateHint(remaining=3)),
        ({"RateLimit": '"default";r=many;t=30'}, RateHint()),
        ({"RateLimit": ";", "RateLimit-Policy": ";,"}, RateHint()),
        ({"X-RateLimit-Limit": "lots"}, RateHint()),
        ({}, RateHint()),
    ],
)
def test_every_family_of_rate_limit_headers_is_read(headers: dict[str, str], expected: RateHint) -> None:
    assert rate_hint(headers, NOW) == expected


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (RateHint(retry_after_s=5, remaining=0, reset_s=60), 5),
        (RateHint(remaining=0, reset_s=60), 60),
        (RateHint(remaining=1, reset_s=60), None),
        (RateHint(reset_s=60), None),
        (RateHint(), None),
    ],
)
def test_retry_after_takes_precedence_over_the_reset_of_a_used_up_quota(hint: RateHint, expected: float | None) -> None:
    assert hint.wait_s == expected


NAMES = [
    "Retry-After",
    "Date",
    "RateLimit",
    "RateLimit-Policy",
    "RateLimit-Limit",
    "RateLimit-Reset",
    "X-RateLimit-Reset",
]
SHAPES = st.text(alphabet='0123456789.-;,="\\rtqwTZ: GMTJan', max_size=40)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20) | SHAPES))
def test_no_header_breaks_the_reading_and_no_wait_is_negative(headers: dict[str, str]) -> None:
    hint = rate_hint(headers, NOW)

    assert hint.wait_s is None or hint.wait_s >= 0
