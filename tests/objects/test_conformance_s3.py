"""The connector of S3 passes the conformance suite; what is the formats' business comes with `make test-all`, and on Azure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.core.secret import Secret
from penstock.testing.conformance import Subject
from penstock.testing.conformance.catalog import *  # noqa: F403
from penstock.testing.conformance.manners import *  # noqa: F403
from penstock.testing.conformance.modes import *  # noqa: F403
from penstock.testing.conformance.staging import *  # noqa: F403
from tests.parts.objects import S3, free_port


@pytest.fixture
def subject(s3: S3) -> Subject:
    # Small row groups, so that the suite's small tables can be split.
    spec = s3.connection(s3.new_bucket(), "ware house")
    nowhere = s3.options(endpoint=f"http://127.0.0.1:{free_port()}")
    return Subject(
        lambda: spec,
        load_options={"row_group_rows": 500},
        unreachable=replace(spec, options={**nowhere, "secret_access_key": Secret("not-the-right-one")}),
    )
