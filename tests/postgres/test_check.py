"""What `check` tells of a connection."""

from __future__ import annotations

from contextlib import closing

import pytest

from penstock.connectors.postgres import wire
from penstock.connectors.postgres.connector import connector
from penstock.core.spec import ConnectionSpec

pytestmark = pytest.mark.postgres


def test_check_tells_which_way_rows_are_coded(postgres_dsn: str) -> None:
    def told(**options: str) -> str:
        with closing(connector.open(ConnectionSpec("shop", postgres_dsn, options=options))) as session:
            return "; ".join(session.check().notes)

    assert ("rows go through the codec" if wire.available() else "takes more CPU: ") in told()
    assert "rows go through the drivers, as the option codec asks" in told(codec="portable")
