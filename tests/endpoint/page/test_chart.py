from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.endpoint.page.chart import HEIGHT, WIDTH, draw

FIRST = date(2026, 10, 25)


def days(*values: int) -> list[tuple[date, int]]:
    """One value a day."""
    return [(FIRST + timedelta(days=index), value) for index, value in enumerate(values)]


def test_the_summary_says_what_the_bars_show() -> None:
    """Total, days and the busiest of them."""
    chart = draw("Served", days(0, 3_000_000, 1_000_000))

    assert chart.summary == "4.0 MB in 3 days, most on 26 Oct (3.0 MB)"
    assert (chart.first, chart.last) == ("25 Oct", "today")
    assert chart.bars[1].title == "26 Oct: 3.0 MB"


def test_a_quiet_month_is_told_in_words_alone() -> None:
    """There is nothing to draw."""
    assert draw("Served", days(0, 0)).summary == "nothing in 2 days"
    assert draw("Served", []).summary == "nothing yet"
    assert not draw("Served", days(0, 0)).busy


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=60))
def test_every_bar_is_inside_and_every_byte_is_seen(values: list[int]) -> None:
    """Also one byte beside a petabyte."""
    chart = draw("Served", days(*values))

    assert chart.busy is any(values)
    for bar, value in zip(chart.bars, values, strict=True):
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= HEIGHT
        assert (bar.height >= 1) is (value > 0)
