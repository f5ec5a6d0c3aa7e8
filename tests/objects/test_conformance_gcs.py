"""The connector of Google Cloud Storage passes the conformance suite, as far as its interface can be had here."""

from __future__ import annotations

import pytest

from penstock.testing.conformance import *  # noqa: F403
from penstock.testing.conformance import Subject
from tests.parts.gcs import Gcs

pytestmark = pytest.mark.slow


@pytest.fixture
def subject(gcs: Gcs) -> Subject:
    spec = gcs.connection(gcs.new_bucket(), "house")
    return Subject(lambda: spec, load_options={"row_group_rows": 500})
