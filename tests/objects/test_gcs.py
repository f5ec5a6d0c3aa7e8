"""Google Cloud Storage, as far as it can be had here: conditions by generation, copies, large parts, two loads at once."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from penstock.connectors import registry
from penstock.connectors.objects.publish import Publish
from penstock.core.errors import Busy, CredentialsRefused, Locked
from penstock.core.load import Mode
from penstock.core.spec import ConnectionSpec
from tests.files.lake import orders
from tests.objects.lake import Bay, bay, load_of
from tests.parts.gcs import Gcs


@pytest.fixture
def google(gcs: Gcs) -> Bay:
    return bay(gcs.connection(gcs.new_bucket(), "house"))


def test_loads_of_all_kinds_arrive(google: Bay) -> None:
    google.put(orders(1, 2), orders(3))
    google.put(orders(4), mode=Mode.APPEND)
    google.put(orders(2, 5, note="new"), mode=Mode.UPSERT, key=("id",))

    assert google.rows() == [(1, "x"), (2, "new"), (3, "x"), (4, "x"), (5, "new")]
    assert [key for key in google.held() if key.startswith(".penstock/")] == []


def test_a_load_that_another_overtakes_is_told_so_by_the_generation(google: Bay) -> None:
    google.put(orders(1))
    late = replace(load_of(Mode.APPEND, "late", orders(1).schema), job="other")
    expected = google.stage(late, orders(10), orders(11))
    session = google.session()
    calls = []

    def overtake() -> None:
        if not calls:
            calls.append(1)
            google.put(orders(7), orders(8), mode=Mode.APPEND)

    with pytest.raises(Busy, match="another load"):
        Publish(session._root, session._options, late, overtake).run(expected)
    google.session().writer().publish(late, expected)

    assert sorted(row[0] for row in google.rows()) == [1, 7, 8, 10, 11]


def test_a_claim_is_held_and_given_back(google: Bay) -> None:
    load = load_of(Mode.REPLACE, "mine", orders(1).schema)
    other = replace(load, load_id="theirs", job="other job")
    session, second = google.session(), google.session()
    session.writer().claim(load)

    with pytest.raises(Locked, match="raw"):
        second.writer().claim(other)
    session.close()
    second.writer().claim(other)
    second.close()


def test_a_large_part_goes_up_in_several_pieces(google: Bay) -> None:
    data = pa.table({"id": pa.array(range(150_000), pa.int64()), "note": [f"{at:0150d}" for at in range(150_000)]})

    google.put(data, options={"format": "csv", "compression": "none"})

    assert google.get().column("id").to_pylist() == list(range(150_000))


def test_without_a_login_google_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    with pytest.raises(CredentialsRefused, match="finds no credentials"):
        registry.open_session(ConnectionSpec("lake", "gs://bucket"))
