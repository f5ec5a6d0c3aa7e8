"""What an object store's refusals mean for a run: Penstock's own errors, by status and code, without signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError

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
    SpecError,
    Unavailable,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<(?:Code|code)>([A-Za-z0-9._-]+)</|\"code\":\s*\"([A-Za-z0-9._-]+)\"")
_LATER = (408, 425, 429, 500, 502, 503, 504)
_TOO_MANY = ("SlowDown", "TooManyRequests", "RequestLimitExceeded", "ServerBusy", "rateLimitExceeded")
_WHO = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "AuthorizationHeaderMalformed",
)
_NO_ROOM = ("XMinioStorageFull", "QuotaExceeded", "EntityTooLarge", "AccountLimitExceeded")
_CUT = ("connection closed", "reset by peer", "broken pipe", "unexpected eof", "incomplete", "body error", "decode")
_REACH = "check the endpoint and the network"


class Conflict(Busy):
    """A request with a condition met an object that is not the one it expected, or is there already."""


@contextmanager
def named_refusals(what: str) -> Iterator[None]:
    """Raise the store's errors inside as Penstock's own: `what` says what was tried, on which object of which
    connection."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, PreconditionError | AlreadyExistsError):
            raise Conflict(f"cannot {what}: it was changed meanwhile", "the same may work later") from error
        # A signature of a shared access URL is as good as a password, and the store's text quotes the URL.
        raise refusal(error, what) from (None if "sig=" in str(error) else error)


def refusal(error: Exception, what: str) -> PenstockError:
    """The error of core that fits a refusal. The library gives status and code as text only, and no Retry-After."""
    text = str(error).partition("Debug source")[0]
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = next((part for part in found.groups() if part), "") if (found := _CODE.search(text)) else ""
    said = " ".join(part for part in (str(status) if status else "", code) if part)
    if code in _NO_ROOM or status == 507:
        return DiskFull(f"cannot {what}: {said}", "raise the quota or choose another place; run again to go on")
    if code in _TOO_MANY or status == 429:
        return Busy(f"cannot {what}: too many requests ({said})", "lower workers, or wait")
    if status in _LATER:
        return Unavailable(f"cannot {what}: the store answers {said}", "wait, or check the store")
    if isinstance(error, NotFoundError | FileNotFoundError) or status == 404:
        return Missing(f"cannot {what}: {said or 'it is not there'}", "check bucket and prefix")
    return _denied(error, what, status, code, said) or _broken(error, what, text, said)


def _denied(error: Exception, what: str, status: int, code: str, said: str) -> PenstockError | None:
    lower = str(error).lower()
    if code in _WHO or status == 401 or "credential" in lower or "failed to authenticate" in lower:
        return CredentialsRefused(
            f"cannot {what}: the credentials were refused ({said or 'none found'})",
            "check the keys of the connection, or what the cloud's own chain finds",
        )
    if status == 403:
        return PermissionRefused(f"cannot {what}: {said}", "give the login the right to list, read, write and delete")
    return None


def _broken(error: Exception, what: str, text: str, said: str) -> PenstockError:
    lower = str(error).lower()
    if "redirect" in lower or status_of_region(said):
        return SpecError(f"cannot {what}: the bucket is in another region", "set the connection's option region")
    if "kind: connect" in lower or "error sending request" in lower or "dns error" in lower or "timed out" in lower:
        return Unavailable(f"cannot {what}: no answer from the store", _REACH)
    if any(word in lower for word in _CUT):
        return ConnectionLost(f"cannot {what}: the connection to the store broke", _REACH, retry=Retry.LATER)
    return DataError(f"cannot {what}: {said or _first_line(text)}")


def status_of_region(said: str) -> bool:
    return said.startswith("301") or "PermanentRedirect" in said


def _first_line(text: str) -> str:
    """The beginning of a message, without the query of any URL in it."""
    return re.sub(r"\?\S+", "", text.strip().splitlines()[0] if text.strip() else "refused")[:300]
