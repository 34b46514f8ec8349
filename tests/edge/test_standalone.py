"""Running from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.edge.patch import Document
from connected_registry.edge.standalone import ReportedFile, TwinFile, read_document
from connected_registry.errors import StorageError, TwinInvalid


class Watch:
    """A watched file and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received: list[tuple[Document, int]] = []
        self.refused: list[tuple[str, int]] = []
        self.raises: Exception | None = None
        self.file = TwinFile(path, self.receive, self.refuse)

    async def receive(self, document: Document, version: int) -> bool:
        """Take a document."""
        if self.raises is not None:
            raise self.raises
        self.received.append((document, version))
        return True

    async def refuse(self, error: TwinInvalid, version: int) -> None:
        """Take a reason."""
        self.refused.append((str(error), version))

    def write(self, text: str) -> None:
        """Replace the file as editors do, so that its inode changes too."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path)


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """A file that is not there yet."""
    return Watch(tmp_path / "twin.json")


async def test_contents_are_handed_on_with_rising_versions(watch: Watch) -> None:
    """Each new content is one document, the same content none."""
    watch.write('{"mode": "ReadOnly"}')
    await watch.file.check()
    await watch.file.check()
    watch.write('{"mode": "ReadWrite"}')
    await watch.file.check()
    assert watch.received == [({"mode": "ReadOnly"}, 1), ({"mode": "ReadWrite"}, 2)]


async def test_touching_without_a_change_is_nothing(watch: Watch) -> None:
    """A new time and inode with the old content are no new document."""
    watch.write("{}")
    await watch.file.check()
    watch.write("{}")
    os.utime(watch.path, (1, 1))
    await watch.file.check()
    assert len(watch.received) == 1


async def test_a_document_may_be_a_whole_twin(watch: Watch) -> None:
    """What was copied from a deployment manifest or the hub works as it is."""
    watch.write('{"properties": {"desired": {"$version": 8, "mode": "ReadOnly"}}}')
    await watch.file.check()
    assert watch.received == [({"$version": 8, "mode": "ReadOnly"}, 1)]


async def test_a_half_written_file_is_looked_at_once_more(watch: Watch) -> None:
    """What an editor completes before the next look was never wrong."""
    watch.write('{"mode": "Read')
    await watch.file.check()
    watch.write('{"mode": "ReadOnly"}')
    await watch.file.check()
    assert watch.refused == []
    assert len(watch.received) == 1


async def test_a_bad_file_is_refused_once_with_its_place(watch: Watch) -> None:
    """The reason names line and column and is told once; a repaired file is taken again."""
    watch.write('{\n  "mode": ReadOnly\n}')
    for _ in range(4):
        await watch.file.check()
    ((reason, version),) = watch.refused
    assert "line 2, column 11" in reason
    assert version == 1
    watch.write('{"mode": "ReadOnly"}')
    await watch.file.check()
    assert watch.received == [({"mode": "ReadOnly"}, 2)]


async def test_returning_to_the_last_good_content_is_handed_on(watch: Watch) -> None:
    """Undoing a bad edit clears its refusal, so the same document comes again."""
    watch.write("{}")
    await watch.file.check()
    watch.write("{")
    await watch.file.check(patient=False)
    watch.write("{}")
    await watch.file.check()
    assert [version for _, version in watch.received] == [1, 3]
    assert [version for _, version in watch.refused] == [2]


async def test_a_missing_file_is_told_and_waited_for(watch: Watch) -> None:
    """A file that comes later is read then; while it is away the reason is told once."""
    for _ in range(3):
        await watch.file.check()
    ((reason, _),) = watch.refused
    assert "No such file" in reason
    watch.write("{}")
    await watch.file.check()
    assert len(watch.received) == 1


async def test_a_content_that_could_not_be_handed_on_comes_again(watch: Watch) -> None:
    """Nothing is lost when the receiver fails and the supervisor starts the job again."""
    watch.write("{}")
    watch.raises = OSError("disk")
    with pytest.raises(OSError, match="disk"):
        await watch.file.check()
    watch.raises = None
    await watch.file.check()
    assert len(watch.received) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1, column 1"),
        (b"// note\n{}", "without comments"),
        (b'{"a": 1,}', "line 1"),
        (b"[]", "one JSON object"),
        (b'{"a": NaN}', "finite"),
        (b'{"a": 1, "a": 2}', "once"),
        (b'{"a":\n"\xff"}', "line 2"),
        (b'{"properties": {}}', "properties.desired"),
        (b'{"a": ' + b"[" * 100_000, "deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number"),
    ],
)
def test_each_unreadable_content_says_why(content: bytes, said: str) -> None:
    """One sentence tells what is wrong and where."""
    with pytest.raises(TwinInvalid, match=said) as caught:
        read_document(content)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_does_no_harm() -> None:
    """Files written by Windows editors are read."""
    assert read_document(b'\xef\xbb\xbf{"a": 1}\r\n') == {"a": 1}


@given(st.binary(max_size=200))
def test_any_content_is_a_document_or_a_refusal(content: bytes) -> None:
    """No bytes make reading raise anything but `TwinInvalid`."""
    try:
        document: Any = read_document(content)
    except TwinInvalid:
        document = {}
    assert isinstance(document, dict)


async def test_reported_files_are_whole_and_readable(tmp_path: Path) -> None:
    """The document replaces the file at once, leaving nothing beside it."""
    path = tmp_path / "reported.json"
    file = ReportedFile(path)
    await file.write({}, {"inSync": "true", "ü": 1})
    await file.write({}, {"inSync": "false"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"inSync": "false"}
    assert list(tmp_path.iterdir()) == [path]


async def test_a_reported_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A folder that is not there is a `StorageError` naming the file."""
    path = tmp_path / "none" / "reported.json"
    with pytest.raises(StorageError, match=r"reported\.json"):
        await ReportedFile(path).write({}, {})
