"""What the server's words mean for a run: the class of the error, and whether the engine may try again."""

from __future__ import annotations

import pytest

from penstock.connectors.sqlserver.errors import MEANINGS, refused, translate
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
    SchemaChanged,
    SpecError,
    TimedOut,
    Unavailable,
)
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec

SPEC = ConnectionSpec("shop", "mssql://app@db/shop", password=Secret("hunter2"))
_DRIVER = "Driver Error: {}; DDBC Error: [Microsoft][SQL Server]{}"

# Messages as sys.messages has them, the class of their error, and what the engine does.
CASES: list[tuple[str, type[PenstockError], Retry]] = [
    (("Transaction (Process ID 52) was deadlocked on lock resources with another process and has been chosen as the"
     " deadlock victim. Rerun the transaction."), Busy, Retry.LATER),
    ("Lock request time out period exceeded.", Busy, Retry.LATER),
    (("Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table"
     " 'dbo.t' directly or indirectly in database 'shop'"), Busy, Retry.LATER),
    ("The transaction log for database 'shop' is full due to 'LOG_BACKUP'.", DiskFull, Retry.NEVER),
    ("Could not allocate space for object 'dbo.t' in database 'shop' because the 'PRIMARY' filegroup is full.", DiskFull,
     Retry.NEVER),
    ("Database 'shop' on server 'db' is not currently available.  Please retry the connection later.", Unavailable,
     Retry.LATER),
    ("The service is currently busy. Retry the request after 10 seconds. Incident ID: 1. Code: 2", Unavailable,
     Retry.LATER),
    ("The service has encountered an error processing your request. Please try again. Error code 4891.", ConnectionLost,
     Retry.RECONNECT),
    ("Cannot process request. Not enough resources to process request. Please retry your request later.", Unavailable,
     Retry.LATER),
    ("The SELECT permission was denied on the object 'orders', database 'shop', schema 'dbo'.", PermissionRefused,
     Retry.NEVER),
    ("Invalid object name 'dbo.orders'.", Missing, Retry.NEVER),
    ("Invalid column name 'total'.", Missing, Retry.NEVER),
    ("Violation of PRIMARY KEY constraint 'PK_orders'. Cannot insert duplicate key in object 'dbo.orders'.", DataError,
     Retry.NEVER),
    ("String or binary data would be truncated in table 'shop.dbo.t', column 'name'. Truncated value: 'ab'.", DataError,
     Retry.NEVER),
    ("Arithmetic overflow error converting expression to data type int.", DataError, Retry.NEVER),
    ("The datediff function resulted in an overflow.", DataError, Retry.NEVER),
    ("Cannot insert the value NULL into column 'id', table 'shop.dbo.t'; column does not allow nulls.", DataError,
     Retry.NEVER),
    ("The index 'IX_name' is dependent on column 'name'.", SchemaChanged, Retry.NEVER),
    ("Query timeout expired", TimedOut, Retry.LATER),
    ("Communication link failure", ConnectionLost, Retry.RECONNECT),
    ("Incorrect syntax near the keyword 'WITH'.", SpecError, Retry.NEVER),
]  # fmt: skip


@pytest.mark.parametrize(("message", "kind", "retry"), CASES, ids=lambda one: str(one)[:40])
def test_words_of_the_server_become_the_error_that_they_mean(
    message: str, kind: type[PenstockError], retry: Retry
) -> None:
    title = "Syntax error or access violation" if kind is SpecError else "General error"
    found = translate(RuntimeError(_DRIVER.format(title, message)), "cannot read table t", SPEC)

    assert type(found) is kind
    assert found.retry is retry
    assert found.what.startswith("cannot read table t of connection 'shop': ")
    assert "[" not in found.what
    assert not found.what.endswith(".")


@pytest.mark.parametrize("number", [1205, 40613, 9002, 2627])
def test_a_number_that_is_told_counts_more_than_words(number: int) -> None:
    found = translate(RuntimeError(f"SQL Server Error: {number}, words in another language"), "cannot write", SPEC)

    assert type(found) is next(meaning.error for meaning in MEANINGS if meaning.number == number)


def test_every_meaning_has_a_number_and_words_of_its_own() -> None:
    numbers = [meaning.number for meaning in MEANINGS]

    assert len(numbers) == len(set(numbers))
    assert all(meaning.words for meaning in MEANINGS)


def test_azure_says_how_long_to_wait() -> None:
    message = "The service is currently busy. Retry the request after 10 seconds."

    assert translate(RuntimeError(message), "cannot read", SPEC).wait_s == 10


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Login failed for user 'app'.", CredentialsRefused),
        ('Cannot open database "gone" requested by the login. The login failed.', SpecError),
        (("Cannot open server 'db' requested by the login. Client with IP address '10.0.0.1' is not allowed to access the"
         " server."), PermissionRefused),
        ("SSL Provider: The certificate chain was issued by an authority that is not trusted", SpecError),
        ("Login timeout expired", Unavailable),
        ("TCP Provider: Error code 0x2749", Unavailable),
    ],
)  # fmt: skip
def test_a_connection_that_is_refused_says_why_and_what_to_do(message: str, kind: type[PenstockError]) -> None:
    found = refused(RuntimeError(_DRIVER.format("Client unable to establish connection", message)), SPEC, "db,1433")

    assert type(found) is kind
    assert found.hint
    assert "shop" in found.what


def test_a_password_in_a_message_is_masked() -> None:
    found = refused(RuntimeError("Login failed for user 'app' with hunter2"), SPEC, "db")

    assert "hunter2" not in str(found)
