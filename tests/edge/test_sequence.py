from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.patch import merge_patch
from connected_registry.edge.sequence import DesiredSequence

values = st.recursive(
    st.integers(0, 3) | st.none(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)
)
patches = st.dictionaries(st.sampled_from("abc"), values)


def begun(version: int = 1, **document: Any) -> DesiredSequence:
    """A sequence that has read a twin."""
    sequence = DesiredSequence()
    sequence.begin({**document, "$version": version})
    return sequence


def test_a_first_twin_is_news() -> None:
    """Even an empty document is: it says that all settings have their defaults."""
    sequence = DesiredSequence()

    assert sequence.begin({"$version": 1})
    assert (sequence.document, sequence.version) == ({}, 1)


def test_a_twin_without_version_is_no_news() -> None:
    """The hub does not know, which is not the same as empty."""
    sequence = begun(3, a=1)

    assert not sequence.begin({})
    assert (sequence.document, sequence.version) == ({"a": 1}, 3)


def test_the_same_twin_at_the_next_session_is_no_news() -> None:
    """Nothing is handed over twice for a reconnect."""
    sequence = begun(3, a=1)

    assert not sequence.begin({"a": 1, "$version": 3, "$metadata": {}})


def test_another_document_of_the_same_version_is_news() -> None:
    """Content counts, and true is not 1."""
    sequence = begun(3, a=1)

    assert sequence.begin({"a": True, "$version": 3})


def test_the_next_patch_is_merged() -> None:
    """Null removes, objects merge."""
    sequence = begun(1, a=1, b={"c": 1})

    assert sequence.patch({"a": None, "b": {"d": 2}, "$version": 2})
    assert (sequence.document, sequence.version) == ({"b": {"c": 1, "d": 2}}, 2)
    assert not sequence.gap


def test_an_old_patch_changes_nothing() -> None:
    """A repetition or a latecomer is known by its version."""
    sequence = begun(5, a=5)

    assert not sequence.patch({"a": 4, "$version": 4})
    assert not sequence.patch({"a": 6, "$version": 5})
    assert (sequence.document, sequence.gap) == ({"a": 5}, False)


def test_an_early_patch_waits_for_the_one_before() -> None:
    """It opens a gap, and counts once the gap is closed."""
    sequence = begun(1)

    assert not sequence.patch({"b": 2, "$version": 3})
    assert sequence.gap
    assert sequence.patch({"a": 1, "$version": 2})
    assert (sequence.document, sequence.version) == ({"a": 1, "b": 2}, 3)
    assert not sequence.gap


def test_a_read_closes_the_gap() -> None:
    """Patches up to the version that was read are in it."""
    sequence = begun(1)
    sequence.patch({"b": 2, "$version": 3})

    assert sequence.read({"a": 1, "b": 2, "$version": 3})
    assert (sequence.document, sequence.gap) == ({"a": 1, "b": 2}, False)


def test_a_read_of_an_old_copy_leaves_the_gap() -> None:
    """A stale answer is merged with the patches that follow it, as far as they do."""
    sequence = begun(1)
    sequence.patch({"c": 4, "$version": 5})

    assert sequence.read({"a": 1, "$version": 3})
    assert sequence.gap
    assert not sequence.read({"a": 0, "$version": 2})
    assert (sequence.document, sequence.version) == ({"a": 1}, 3)


def test_a_lower_version_counts_only_at_the_start_of_a_session() -> None:
    """Within a session it is an old copy; at its start the hub is another one."""
    sequence = begun(7, a=7)

    assert not sequence.read({"a": 2, "$version": 2})
    assert sequence.begin({"a": 2, "$version": 2})
    assert sequence.version == 2


def test_patches_before_any_twin_ask_for_one() -> None:
    """Without a document there is nothing to merge into."""
    sequence = DesiredSequence()

    assert not sequence.patch({"a": 1, "$version": 2})
    assert sequence.gap


@given(changes=st.lists(patches, max_size=8), data=st.data())
def test_any_order_with_repetitions_gives_the_document_of_the_hub(
    changes: list[dict[str, Any]], data: st.DataObject
) -> None:
    """However patches are shuffled, repeated and lost: after a last read all is as at the hub."""
    document: dict[str, Any] = {}
    messages = []
    for version, change in enumerate(changes, 2):
        document = merge_patch(document, change)
        messages.append({**change, "$version": version})
    sequence = begun(1)
    arrived = data.draw(
        st.lists(st.sampled_from(messages), max_size=20) if messages else st.just([])
    )
    seen = [1]
    for message in arrived:
        sequence.patch(message)
        assert sequence.version is not None
        seen.append(sequence.version)
    sequence.read({**document, "$version": len(changes) + 1})

    assert sequence.document == document
    assert seen == sorted(seen)
    assert not sequence.gap
