"""The tables' own types."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from connected_registry.storage.models import Moment

MOMENT = Moment()
DIALECT = sqlite.dialect()  # type: ignore[no-untyped-call]


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_a_moment_comes_back_as_it_went_in(moment: datetime) -> None:
    """To the microsecond, aware, whatever zone it was given in."""
    stored = MOMENT.process_bind_param(moment, DIALECT)
    assert isinstance(stored, int)
    found = MOMENT.process_result_value(stored, DIALECT)
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@given(st.tuples(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC))))
def test_moments_sort_as_they_are_stored(pair: tuple[datetime, datetime]) -> None:
    """The database orders by the stored number."""
    first, second = (MOMENT.process_bind_param(moment, DIALECT) for moment in pair)
    assert first is not None
    assert second is not None
    assert (first < second) == (pair[0] < pair[1])
