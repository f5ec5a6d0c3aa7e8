"""SQLSTATEs: what may be tried again, and that the table speaks of codes that exist."""

from __future__ import annotations

import re

import pytest

from penstock.core import sqlstate as table
from penstock.core.errors import (
    Busy,
    ConnectionLost,
    CredentialsRefused,
    DataError,
    DiskFull,
    Missing,
    PenstockError,
    PermissionRefused,
    Retry,
    TimedOut,
    Unavailable,
)
from penstock.core.sqlstate import sqlstate


@pytest.mark.parametrize(
    ("code", "error", "retry"),
    [
        ("08006", ConnectionLost, Retry.RECONNECT),
        ("08S01", ConnectionLost, Retry.RECONNECT),
        ("08001", Unavailable, Retry.LATER),
        ("57P01", ConnectionLost, Retry.RECONNECT),
        ("57P02", ConnectionLost, Retry.RECONNECT),
        ("57P03", Unavailable, Retry.LATER),
        ("57014", TimedOut, Retry.LATER),
        ("40001", Busy, Retry.LATER),
        ("40P01", Busy, Retry.LATER),
        ("40002", DataError, Retry.NEVER),
        ("53300", Unavailable, Retry.LATER),
        ("53100", DiskFull, Retry.NEVER),
        ("55P03", Busy, Retry.LATER),
        ("25P03", ConnectionLost, Retry.RECONNECT),
        ("25006", PenstockError, Retry.NEVER),
        ("22P02", DataError, Retry.NEVER),
        ("23505", DataError, Retry.NEVER),
        ("42601", PenstockError, Retry.NEVER),
        ("42P01", Missing, Retry.NEVER),
        ("42501", PermissionRefused, Retry.NEVER),
        ("XX001", PenstockError, Retry.NEVER),
        ("", PenstockError, Retry.NEVER),
        (None, PenstockError, Retry.NEVER),
    ],
)
def test_a_code_says_which_error_it_is_and_whether_to_try_again(
    code: str | None, error: type[PenstockError], retry: Retry
) -> None:
    found = sqlstate(code)

    assert (found.error, found.retry) == (error, retry)


@pytest.mark.parametrize("code", ["28000", "28P01"])
def test_a_refused_login_is_flagged_as_credentials(code: str) -> None:
    found = sqlstate(code)

    assert found.is_credentials
    assert found.error is CredentialsRefused
    assert not sqlstate("08006").is_credentials


def test_every_code_of_the_table_is_postgresqls_own_under_the_name_it_has_there() -> None:
    errors = pytest.importorskip("psycopg.errors")

    named = {code: re.sub(r"\B(?=[A-Z])", "_", errors.lookup(code).__name__).lower() for code in table._CODES}

    assert {code: state.name for code, state in table._CODES.items()} == named


def test_an_error_made_from_a_code_keeps_its_retry_kind_when_it_is_raised() -> None:
    found = sqlstate("57014")

    error = found.error("query cancelled", retry=found.retry)

    assert error.retry is Retry.LATER
