from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connected_registry.edge.delta import ReportedDelta
from connected_registry.edge.patch import merge_patch, same


def test_nothing_is_sent_before_anything_is_wanted() -> None:
    """A module that has not reported yet must not wipe what the hub has."""
    delta = ReportedDelta()
    delta.begin({"a": 1, "$version": 3})

    assert delta.next_patch() is None


def test_nulls_in_the_wanted_document_are_left_out() -> None:
    """A twin cannot hold them."""
    delta = ReportedDelta()
    delta.want({"a": None, "b": {"c": None, "d": 1}})

    assert delta.next_patch() == {"b": {"d": 1}}


def test_what_is_accepted_is_not_sent_again() -> None:
    """The next patch is the difference from the last acknowledged state."""
    delta = ReportedDelta()
    delta.want({"a": 1, "b": 2})
    delta.accept(delta.next_patch() or {})
    delta.want({"a": 1, "c": 3})

    assert delta.next_patch() == {"b": None, "c": 3}


def test_a_change_while_a_patch_is_under_way_goes_next() -> None:
    """Accepting a patch acknowledges that patch and nothing else."""
    delta = ReportedDelta()
    delta.want({"a": 1})
    under_way = delta.next_patch() or {}
    delta.want({"a": 2})
    delta.accept(under_way)

    assert delta.next_patch() == {"a": 2}


def test_a_refused_patch_is_split_and_only_the_bad_property_is_set_aside() -> None:
    """Each property is sent alone until it is known which one the hub does not take."""
    delta = ReportedDelta()
    delta.want({"a": 1, "bad": 2, "c": 3})
    sent = []
    while (patch := delta.next_patch()) is not None:
        sent.append(patch)
        if "bad" in patch:
            delta.refuse(patch)
        else:
            delta.accept(patch)

    assert sent == [{"a": 1, "bad": 2, "c": 3}, {"a": 1}, {"bad": 2}, {"c": 3}]
    assert delta.refused == ("bad",)
    assert delta.acknowledged == {"a": 1, "c": 3}


def test_a_property_that_changes_all_the_time_does_not_keep_the_splitting_up() -> None:
    """The bad one is found although another one is new in every patch."""
    delta = ReportedDelta()
    for number in range(6):
        delta.want({"busy": number, "bad": 2})
        patch = delta.next_patch() or {}
        if "bad" in patch:
            delta.refuse(patch)
        else:
            delta.accept(patch)

    assert delta.refused == ("bad",)
    assert delta.acknowledged == {"busy": 5}


def test_a_removal_that_is_refused_is_set_aside_too() -> None:
    """It is not tried again with every report."""
    delta = ReportedDelta()
    delta.begin({"gone": 1})
    delta.want({})
    delta.refuse(delta.next_patch() or {})
    delta.want({})

    assert delta.next_patch() is None


def test_a_new_value_ends_being_set_aside() -> None:
    """What was refused was the value, not the name."""
    delta = ReportedDelta()
    delta.want({"a": "bad"})
    delta.refuse(delta.next_patch() or {})
    delta.want({"a": "good"})

    assert delta.next_patch() == {"a": "good"}
    assert delta.refused == ()


scalars = st.sampled_from([0, 1, True, "x", "bad"])
documents = st.dictionaries(
    st.sampled_from("abcd"), scalars | st.dictionaries(st.sampled_from("xy"), scalars), max_size=4
)


def good(value: Any) -> bool:
    """Whether the model hub takes a value."""
    return value != "bad" and not (isinstance(value, dict) and "bad" in value.values())


class Reporting(RuleBasedStateMachine):
    """A hub that refuses some values and loses answers, and the delta that feeds it."""

    def __init__(self) -> None:
        super().__init__()
        self.delta = ReportedDelta()
        self.hub: dict[str, Any] = {}
        self.wanted: dict[str, Any] | None = None

    @rule(document=documents)
    def want(self, document: dict[str, Any]) -> None:
        """The site changes."""
        self.wanted = document
        self.delta.want(document)

    @rule()
    def reconnect(self) -> None:
        """A new session reads the twin."""
        self.delta.begin({**self.hub, "$version": 1})

    @rule(answered=st.booleans())
    def send(self, answered: bool) -> None:
        """A patch goes; a lost answer is followed by a new session."""
        patch = self.delta.next_patch()
        if patch is None:
            return
        if not all(good(value) for value in patch.values()):
            self.delta.refuse(patch)
            return
        self.hub = merge_patch(self.hub, patch)
        if answered:
            self.delta.accept(patch)
        else:
            self.reconnect()

    @invariant()
    def the_hub_is_known(self) -> None:
        """What counts as acknowledged is never more than the hub has."""
        assert same(self.delta.acknowledged, self.hub) or self.delta.acknowledged == {}

    def teardown(self) -> None:
        """Left alone, it settles on everything that the hub takes."""
        for _ in range(50):
            self.send(answered=True)
        self.reconnect()
        for _ in range(50):
            self.send(answered=True)
        assert self.delta.settled
        for key, value in (self.wanted or {}).items():
            if good(value):
                assert same(self.hub[key], value)


Reporting.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
test_reporting_settles = Reporting.TestCase
