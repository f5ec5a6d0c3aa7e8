"""An error as plain values: what the journal keeps of it and what crosses from a worker to the driver."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from penstock.core import errors
from penstock.core.errors import PenstockError, Retry
from penstock.core.item import Json


@dataclass(frozen=True)
class Failure:
    """What failed and what to do; `kind` is the name of the error's class, `traceback` "" except for defects.

    `wait_s` is what the other side asked to wait, in seconds. `exit_code` is what a run that ends of it exits with.
    """

    kind: str
    what: str
    hint: str = ""
    retry: str = Retry.NEVER.value
    wait_s: float | None = None
    exit_code: int = 1
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what

    @classmethod
    def of(cls, error: PenstockError, traceback: str = "") -> Failure:
        kind = type(error).__name__
        return cls(kind, error.what, error.hint, error.retry.value, error.wait_s, error.exit_code, traceback)

    @classmethod
    def from_json(cls, values: Json) -> Failure:
        """From what `to_json` gave; keys of later versions are ignored."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_json(self) -> Json:
        return asdict(self)

    def to_error(self) -> PenstockError:
        """The error again, of the same class where core.errors has it."""
        found = getattr(errors, self.kind, PenstockError)
        kind = found if isinstance(found, type) and issubclass(found, PenstockError) else PenstockError
        return kind(self.what, self.hint, wait_s=self.wait_s, retry=Retry(self.retry))
