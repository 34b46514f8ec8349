"""Do not fetch again and again what the parent keeps giving wrong: the link is paid by the byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from connected_registry.oci.digest import Digest
from connected_registry.parent.plan import PlanFailure, PlannedImage
from connected_registry.parent.result import ImageFailure

FIRST: Final = 300.0
LONGEST: Final = 6 * 3600.0
COSTLY: Final = frozenset({"lying"})
"""Failures that show only after all the bytes have come."""


@dataclass(slots=True)
class _Record:
    failures: int
    until: float
    last: PlanFailure


class Patience:
    """Remembers, while the process runs, which images to leave alone for how long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[tuple[str, str, Digest], _Record] = {}

    def withhold(self, image: PlannedImage) -> PlanFailure | None:
        """The failure to repeat instead of trying; None when it is time to try."""
        record = self._records.get(_key(image))
        return record.last if record is not None and self._clock() < record.until else None

    def learn(self, images: Iterable[PlannedImage], failures: Iterable[ImageFailure]) -> None:
        """Note what came of the images of a plan, tried or not."""
        by_name = {failure.name: failure for failure in failures}
        for image in images:
            failure = by_name.get(str(image))
            if failure is None:
                self._records.pop(_key(image), None)
            elif failure.reason in COSTLY:
                known = self._records.get(_key(image))
                count = known.failures + 1 if known is not None else 1
                pause = min(FIRST * (1 << min(count - 1, 16)), LONGEST)
                again = PlanFailure(
                    failure.name,
                    failure.reason,
                    failure.detail,
                    image.repository,
                    image.tag,
                    image.digest,
                )
                self._records[_key(image)] = _Record(count, self._clock() + pause, again)


def _key(image: PlannedImage) -> tuple[str, str, Digest]:
    return image.repository, image.tag, image.digest
