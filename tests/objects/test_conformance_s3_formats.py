"""The rest of the conformance suite on S3: reading, values and windows."""

from __future__ import annotations

import pytest

from penstock.testing.conformance import Subject
from penstock.testing.conformance.reading import *  # noqa: F403
from penstock.testing.conformance.values import *  # noqa: F403
from penstock.testing.conformance.windows import *  # noqa: F403
from tests.parts.objects import S3

pytestmark = pytest.mark.slow


@pytest.fixture
def subject(s3: S3) -> Subject:
    spec = s3.connection(s3.new_bucket())
    return Subject(lambda: spec, load_options={"row_group_rows": 500})
