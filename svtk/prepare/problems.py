"""What is wrong with a data directory, collected to be reported in one go: one block per kind of problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

__all__ = ["Problem", "Problems"]

_SHOWN = 5  # places per block


@dataclasses.dataclass
class Problem:
    """One kind of problem in one file: how often, the first places, and how to mend it.

    ``is_fixable``: fix-data mends it.
    """

    file: str
    what: str
    mend: str
    is_fixable: bool
    places: list[str] = dataclasses.field(default_factory=list)
    count: int = 0

    def block(self) -> str:
        """Several lines for a person to read."""
        lines = [f"{self.file}: {self.what} ({self.count})", *(f"  {place}" for place in self.places)]
        if self.count > len(self.places):
            lines.append(f"  ... and {self.count - len(self.places)} more")
        return "\n".join([*lines, f"  To mend: {self.mend}"])


class Problems:
    """Problems by kind, in the order in which they were found first."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Problem] = {}

    def add(self, file: str, what: str, place: str, mend: str, *, is_fixable: bool = False) -> None:
        """Note one problem: ``file: what``, at *place* (``file:line: ...``)."""
        problem = self._kinds.setdefault((file, what), Problem(file, what, mend, is_fixable))
        problem.count += 1
        if len(problem.places) < _SHOWN:
            problem.places.append(place)

    def take(self, problem: Problem) -> None:
        """Take over a problem that was found elsewhere."""
        self._kinds[problem.file, problem.what] = problem

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._kinds.values())

    def __len__(self) -> int:
        """The number of kinds."""
        return len(self._kinds)

    @property
    def count(self) -> int:
        """The number of problems of all kinds."""
        return sum(problem.count for problem in self)
