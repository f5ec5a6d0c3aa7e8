"""One limiter for each host and credential, the stricter settings win, and a database is treated politely."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import SpecError, Stopped
from penstock.core.secret import Secret
from penstock.core.spec import ConnectionSpec, RateSpec
from penstock.engine.clock import StopEvent
from penstock.engine.limits import Limiter, Limiters, LimitKey, PoliteGate, stricter
from penstock.testing.clock import FakeClock

STOP = StopEvent()

RATES = st.builds(
    RateSpec,
    per_second=st.none() | st.floats(0.1, 100),
    per_minute=st.none() | st.floats(1, 1000),
    burst=st.integers(1, 50),
    concurrency=st.none() | st.integers(1, 50),
    max_calls=st.none() | st.integers(0, 1000),
    rows_per_s=st.none() | st.floats(1, 1e6),
)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock() as clock:
        yield clock


def looker(url: str = "looker:https://bi.example.com", secret: str = "s3cret", **more: object) -> ConnectionSpec:
    return ConnectionSpec("bi", url, options={"client_id": "id", "client_secret": Secret(secret)}, **more)  # type: ignore[arg-type]


def test_connections_of_one_host_and_credential_share_a_limiter() -> None:
    limiters = Limiters()

    assert limiters.of(looker()) is limiters.of(looker(base_dir="/elsewhere"))


@pytest.mark.parametrize(
    "other",
    [
        looker(secret="another"),
        looker(url="looker:https://dev.example.com"),
        looker(url="looker:https://bi.example.com:19999"),
        looker(password=Secret("pw")),
    ],
)
def test_another_host_port_or_credential_has_its_own_limiter(other: ConnectionSpec) -> None:
    limiters = Limiters()

    assert limiters.of(looker()) is not limiters.of(other)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://app@db7:5432/shop", "db7:5432"),
        ("looker:https://bi.example.com", "bi.example.com"),
        ("rest+https://api.example.com/v1", "api.example.com"),
        ("mssql://sa@[::1]:1433/x", "::1:1433"),
        ("duckdb:./house.duckdb", "duckdb:./house.duckdb"),
        ("file:./lake", "file:./lake"),
        ("sqlite:/data/a b.db", "sqlite:/data/a b.db"),
    ],
)
def test_the_host_is_found_in_every_kind_of_url(url: str, host: str) -> None:
    assert Limiters().key(ConnectionSpec("c", url)).host == host


def test_users_of_one_database_server_are_limited_apart() -> None:
    limiters = Limiters()

    one, other = (limiters.key(ConnectionSpec("c", f"postgresql://{user}@db7/shop")) for user in ("app", "report"))

    assert one.host == other.host
    assert one.credential != other.credential


def test_a_key_never_shows_the_secret_and_differs_between_processes() -> None:
    keys = [Limiters().key(looker()) for _ in range(2)]

    assert "s3cret" not in repr(keys)
    assert keys[0] != keys[1]


@given(RATES, RATES)
def test_the_stricter_of_each_limit_wins_whichever_came_first(one: RateSpec, other: RateSpec) -> None:
    merged = stricter(one, other)

    assert merged == stricter(other, one)
    for key in ("per_second", "per_minute", "concurrency", "max_calls", "rows_per_s"):
        stated = [getattr(side, key) for side in (one, other) if getattr(side, key) is not None]
        assert getattr(merged, key) == (min(stated) if stated else None)


@given(RATES, RATES, RATES)
def test_merging_knows_no_order_and_repeating_changes_nothing(a: RateSpec, b: RateSpec, c: RateSpec) -> None:
    merged = stricter(stricter(a, b), c)

    assert merged.per_second == stricter(a, stricter(b, c)).per_second
    assert stricter(merged, merged) == merged


def test_a_burst_without_a_rate_does_not_cut_the_burst_of_another() -> None:
    assert stricter(RateSpec(), RateSpec(per_minute=600, burst=10)) == RateSpec(per_minute=600, burst=10)


def test_a_stricter_setting_holds_for_the_limiter_that_runs_already(clock: FakeClock) -> None:
    limiters, key = Limiters(clock), LimitKey("api.example.com", "")
    limiter = limiters.get(key, RateSpec(per_second=10))
    for _ in range(3):
        with limiter.slot(STOP):
            pass

    limiters.get(key, RateSpec(per_second=2, concurrency=1))
    begun = clock.monotonic()
    for _ in range(4):
        with limiter.slot(STOP):
            pass

    assert limiter.state().concurrency == 1
    assert clock.monotonic() - begun == pytest.approx(4 / 2)


def test_a_limiter_without_limits_is_tightened_while_calls_are_under_way(clock: FakeClock) -> None:
    limiter = Limiter(clock=clock)
    with limiter.slot(STOP):
        limiter.tighten(RateSpec(per_minute=2))
        with limiter.slot(STOP), limiter.slot(STOP):
            pass

    assert clock.monotonic() == pytest.approx(1030.0)
    assert (limiter.state().in_flight, limiter.state().calls) == (0, 3)


def test_an_impossible_setting_leaves_the_limiter_as_it_was() -> None:
    limiter = Limiter(RateSpec(per_second=5), name="bi")

    with pytest.raises(SpecError, match="concurrency of the limits of bi is 0; it must be 1 or more"):
        limiter.tighten(RateSpec(concurrency=0))
    assert limiter.rate == RateSpec(per_second=5)


def test_the_states_of_all_limiters_come_by_name() -> None:
    limiters = Limiters()
    for host in ("b.example.com", "a.example.com"):
        limiters.get(LimitKey(host, ""), RateSpec(per_second=1))

    assert [state.name for state in limiters.states()] == ["a.example.com", "b.example.com"]


def test_a_gate_holds_at_most_so_many_connections(clock: FakeClock) -> None:
    gate, most = PoliteGate(max_connections=3, clock=clock), []

    def worker(share: str) -> None:
        for _ in range(5):
            with gate.connection(STOP, share):
                most.append(gate.connections().in_flight)
                clock.wait(None, 1.0)

    for number in range(8):
        clock.spawn(lambda number=number: worker(f"job {number % 2}"))
    clock.run()

    assert max(most) == 3
    assert len(most) == 40


def test_a_gate_spends_rows_at_the_rate_and_never_cuts_a_batch(clock: FakeClock) -> None:
    gate, begun, times = PoliteGate(rows_per_s=1000, clock=clock), clock.monotonic(), []
    for rows in (5000, 500, 0, 2000):
        gate.spend_rows(rows, STOP)
        times.append(clock.monotonic() - begun)

    assert times == pytest.approx([0, 5, 5, 5.5], abs=0.01)


def test_many_readers_share_the_row_rate(clock: FakeClock) -> None:
    gate, begun = PoliteGate(rows_per_s=1000, clock=clock), clock.monotonic()
    for number in range(8):
        clock.spawn(lambda number=number: [gate.spend_rows(250, STOP, f"job {number % 2}") for _ in range(10)])

    clock.run()

    assert 8 * 10 * 250 / (clock.monotonic() - begun) == pytest.approx(1000, rel=0.05)
    assert gate.rows().waits > 0


def test_a_stop_ends_the_wait_for_rows(clock: FakeClock) -> None:
    gate, stop = PoliteGate(rows_per_s=1, clock=clock), StopEvent()
    gate.spend_rows(10_000, stop)
    begun = clock.monotonic()

    def spend() -> float:
        with pytest.raises(Stopped):
            gate.spend_rows(1, stop)
        return clock.monotonic()

    waiter = clock.spawn(spend)
    clock.spawn(lambda: (clock.wait(None, 1.0), stop.set()))
    clock.run()

    assert waiter.result == begun + 1.0


def test_a_gate_without_limits_lets_everything_pass(clock: FakeClock) -> None:
    gate = PoliteGate(clock=clock)
    with gate.connection(STOP):
        gate.spend_rows(10**9, STOP)

    assert clock.monotonic() == 1000.0
