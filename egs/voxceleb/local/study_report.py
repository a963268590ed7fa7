#!/usr/bin/env python3
"""The study's results as Markdown and as a page: study_report.py MATRIX RESULTS [MARKDOWN_FILE [PAGE]].

Prints the tables; with MARKDOWN_FILE, they also replace what stands in it between the lines "<!-- study: begin -->"
and "<!-- study: end -->"; with PAGE, the HTML page is written there ('' for MARKDOWN_FILE: the page alone).
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from study import chosen, read_json, read_matrix, stop
from study_statistics import Estimate, Pooled, difference_of_means, estimate, from_words, pool

BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
TRIALS = {"test": "test", "test_same_sex": "same sex"}  # and what tables call them
FIGURES = ("eer", "min_dcf")


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of a run, or of a teacher, by seed.

    ``planned`` is how many seeds there should be, ``pooled`` the variance between seeds of all rows, by figure and
    trials; a teacher, which no seed of the students' touches, has none.
    """

    name: str
    results: dict[int, dict[str, Any]]
    planned: int = 1
    config: str = "teacher"
    group: str = "encoders"  # its first
    paper: str | None = None
    pooled: Mapping[tuple[str, str], Pooled | None] = dataclasses.field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The seeds without a result."""
        return [seed for seed in range(self.planned) if seed not in self.results]

    @cached_property
    def _first(self) -> dict[str, Any]:
        return next(iter(self.results.values()))

    def size(self, key: str) -> int | None:
        """``parameters`` or ``macs`` of 3 s of audio."""
        return self._first.get("size", {}).get(key)

    @property
    def wall_seconds(self) -> float | None:
        """The median of the seeds' training, by the clock."""
        return _middle([r["train"]["seconds"] for r in self.results.values() if "train" in r])

    @property
    def cpu_seconds(self) -> float | None:
        """That by the processor, of the runs that were not killed on their way."""
        return _middle([r["cpu_seconds"] for r in self.results.values() if r.get("cpu_seconds")])

    def of(self, figure: str, trials: str = "test") -> Estimate | None:
        """``eer`` or ``min_dcf`` (p_target 0.05); None where no run has it."""
        if not self.has(trials):
            return None
        values, draws = self.values(figure, trials), self.draws(figure, trials)
        found = estimate(values, draws, self.num_spks, self.pooled.get((figure, trials)))
        if found.low is None:
            return found
        return dataclasses.replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))  # no figure lies outside

    def has(self, trials: str) -> bool:
        """Whether there are results, all of them with these trials."""
        return bool(self.results) and all(trials in result["metrics"] for result in self.results.values())

    def values(self, figure: str, trials: str) -> list[float]:
        """The figure of each seed."""
        return [value_of(self.results[seed], figure, trials) for seed in sorted(self.results)]

    def draws(self, figure: str, trials: str) -> np.ndarray | None:
        """The figure of each seed with each draw of speakers, float64 (S, R); None where a run's are not known."""
        if not all("draws" in result for result in self.results.values()):
            return None
        return np.stack([from_words(self.results[seed]["draws"][trials][figure]) for seed in sorted(self.results)])

    @property
    def num_spks(self) -> int:
        """How many test speakers there are."""
        return self._first["metrics"]["test"]["confidence"]["num_spks"]


def value_of(result: Mapping[str, Any], figure: str, trials: str) -> float:
    """A result's ``eer`` or ``min_dcf`` (p_target 0.05)."""
    found = result["metrics"][trials]
    return found["eer"] if figure == "eer" else found["min_dcf"]["0.05"]


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean of the first row's figures minus that of the second's, with the same draws of speakers."""

    first: Row
    second: Row

    @property
    def is_there(self) -> bool:
        """Whether both rows have a result."""
        return bool(self.first.results and self.second.results)

    @property
    def seeds(self) -> str:
        """How many seeds either row has."""
        return f"{len(self.first.results)}, {len(self.second.results)}"

    def verdict(self, found: Estimate) -> str:
        """By one of its estimates the first is ``lower``, ``higher`` or ``open``; ``one seed``: neither has more."""
        if found.low is None:
            return "–"
        if not found.over_seeds or len(self.first.results) == len(self.second.results) == 1:
            return "one seed"
        return "lower" if found.high < 0 else "higher" if found.low > 0 else "open"

    def of(self, figure: str, trials: str = "test") -> Estimate | None:
        """The difference of ``eer`` or ``min_dcf``; None where a run does not have it."""
        rows = (self.first, self.second)
        if not all(row.has(trials) for row in rows):
            return None
        values, draws = [row.values(figure, trials) for row in rows], [row.draws(figure, trials) for row in rows]
        known = None if any(d is None for d in draws) else draws
        pooled = self.first.pooled.get((figure, trials))
        found = difference_of_means(*values, known, self.first.num_spks, pooled)
        if self.first.results.keys() == self.second.results.keys():
            found = dataclasses.replace(found, values=tuple(a - b for a, b in zip(*values, strict=True)))
        return found


@dataclasses.dataclass(frozen=True)
class Study:
    """All that is known: rows by name, in the order of the matrix, and the differences that have a seed."""

    rows: dict[str, Row]
    teachers: list[Row]
    groups: dict[str, list[str]]
    titles: dict[str, str]
    differences: list[Difference]
    against: dict[str, Difference]  # a run's difference from the one that it is a change of

    @property
    def tables(self) -> list[tuple[str, str, list[Row]]]:
        """``(name, title, rows)`` of what has results: the teachers, and each group with a row of its own."""
        tables = [("encoders", "The teachers themselves", self.teachers)]
        tables += [
            (group, self.titles.get(group, group), [self.rows[name] for name in names if self.rows[name].results])
            for group, names in self.groups.items()
        ]
        return [
            (name, title, self._best_first(rows))
            for name, title, rows in tables
            if any(row.group == name for row in rows)
        ]

    def _best_first(self, rows: Sequence[Row]) -> list[Row]:
        """Rows as they stand, but after the first its changes, those first that gained most."""
        first = rows[0].name
        changes = {
            row.name: self.against[row.name].of("eer").mean
            for row in rows[1:]
            if row.name in self.against and self.against[row.name].second.name == first
        }
        others = [row for row in rows[1:] if row.name not in changes]
        return [rows[0], *(self.rows[name] for name in sorted(changes, key=changes.__getitem__)), *others]

    @property
    def missing(self) -> list[Row]:
        """Runs without all their seeds."""
        return [row for row in self.rows.values() if row.missing]

    @property
    def count(self) -> str:
        """How many runs there are, of how many."""
        planned = sum(row.planned for row in self.rows.values())
        return f"{planned - sum(len(row.missing) for row in self.missing)} of {planned} runs are there."

    @property
    def results(self) -> list[dict[str, Any]]:
        """Every result."""
        return [result for row in [*self.teachers, *self.rows.values()] for result in row.results.values()]


def read_study(path: str, results: str) -> Study:
    """The matrix with the results that are there."""
    matrix, found = read_matrix(path), {}
    for file in sorted(Path(results).glob("*.seed*.json")):
        result = read_json(file)
        found.setdefault(result["name"], {})[result["seed"]] = result
    _check_trials(found, results)
    several = [list(found[name].values()) for name in matrix["runs"] if len(found.get(name, {})) > 1]
    pooled = {
        (figure, trials): pool([value_of(result, figure, trials) for result in of] for of in several)
        for figure in FIGURES
        for trials in TRIALS
        if all(trials in result["metrics"] for of in several for result in of)
    }
    rows = {}
    for name, run in matrix["runs"].items():
        of_seed = found.get(name, {})
        planned = max([run["seeds"], *(seed + 1 for seed in of_seed)])  # study.sh --seeds makes more
        rows[name] = Row(name, of_seed, planned, run["config"], run["groups"][0], run.get("paper"), pooled)
    teachers = [
        Row(teacher["name"].removeprefix("teacher_"), {0: teacher})
        for teacher in map(read_json, sorted(Path(results).glob("teacher_*.json")))
    ]
    groups = dict.fromkeys(group for run in matrix["runs"].values() for group in run["groups"])
    differences = [Difference(rows[first], rows[second]) for first, second in matrix["compare"]]
    against = {
        name: Difference(rows[name], rows[run["against"]]) for name, run in matrix["runs"].items() if "against" in run
    }
    return Study(
        rows,
        teachers,
        {group: list(chosen(matrix, group)) for group in groups},
        matrix.get("titles", {}),
        [one for one in differences if one.is_there],
        {name: one for name, one in against.items() if one.is_there},
    )


def _check_trials(found: Mapping[str, Mapping[int, Mapping[str, Any]]], results: str) -> None:
    """Results that were measured with other trials or speakers than the others end the program."""
    first = None
    for name, of_seed in found.items():
        for seed, result in of_seed.items():
            counts = {
                trials: (metrics["confidence"]["num_spks"], metrics["num_targets"], metrics["num_nontargets"])
                for trials, metrics in result["metrics"].items()
            }
            first = first or (f"{name}.seed{seed}", counts)
            if counts != first[1]:
                stop(
                    f"{results}: {name}.seed{seed} was measured with other trials (speakers, targets, nontargets: "
                    f"{counts}) than {first[0]} ({first[1]}). To mend: one --results for each corpus"
                )


def origin(study: Study) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The results of each revision and device; a revision with a + had changes that were not committed."""
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in study.results:
        revision = result["revision"] or "unknown"
        key = (revision[:10] + "+" * revision.endswith("+"), result["device"])
        results.setdefault(key, []).append(result)
    return results


def markdown(study: Study) -> str:
    """All tables."""
    parts = []
    for _, title, rows in study.tables:
        parts += [f"#### {title}", "", *_table(rows, study.against), ""]
    if any(row.paper for row in study.rows.values() if row.results):
        parts += [
            "The paper's column: EER % on Vox1-O (arXiv 2509.14136, Tables I and III) of the same student and backend,",
            "5 blocks of width 1024, always distilled, from WavLM-Large's last hidden state, on VoxCeleb2. Its order",
            "may be compared, its level not.",
            "",
        ]
    if study.differences:
        parts += ["#### Differences: the first minus the second", "", *_differences(study.differences), ""]
    names = ", ".join(f"{row.name} ({' '.join(map(str, row.missing))})" for row in study.missing)
    parts += [study.count + (f" Missing, with their seeds: {names}." if names else ""), ""]
    parts += ["Revisions of the results; + marks a checkout with changes that were not committed:", ""]
    parts += [f"- {key[0]}, {key[1]}: {_names(results)}" for key, results in origin(study).items()]
    return "\n".join(parts)


def _names(results: Sequence[Mapping[str, Any]]) -> str:
    """Of runs the names with their seeds, of teachers the names: "a 0 1, b 0, teacher_c"."""
    words: dict[str, list[str]] = {}
    for result in results:
        words.setdefault(result["name"], [result["name"]])
        words[result["name"]] += [str(result["seed"])] * ("run" in result)
    return ", ".join(map(" ".join, words.values()))


def _table(rows: Sequence[Row], against: Mapping[str, Difference]) -> list[str]:
    paper, changes = any(row.paper for row in rows), any(row.name in against for row in rows)
    head = ["run", "seeds", "EER %, test", "95 %", "EER %, same sex", "95 %", "minDCF 0.05, test", "95 %"]
    if changes:
        head += ["change of EER, points: test", "95 %", "same sex", "95 %", "of"]
    head += ["parameters (M)", "GMACs per 3 s", "training (s)", "CPU (s)", *["the paper's"] * paper]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for row in rows:
        cells = [row.name, f"{len(row.results)} of {row.planned}"]
        for figure, trials, scale, digits in (
            ("eer", "test", 100, 2),
            ("eer", "test_same_sex", 100, 2),
            ("min_dcf", "test", 1, 3),
        ):
            found = row.of(figure, trials)
            cells += ["–", "–"] if found is None else [spread(found, scale, digits), between(found, scale, digits)]
        if changes:
            cells += _change(against.get(row.name))
        sizes = [row.size("parameters"), row.size("macs")]
        cells += [
            "–" if size is None else f"{size * scale:.{digits}f}"
            for size, scale, digits in zip(sizes, (1e-6, 1e-9), (3, 4), strict=True)
        ]
        cells += ["–" if value is None else f"{value:.0f}" for value in (row.wall_seconds, row.cpu_seconds)]
        lines.append(_line([*cells, *[row.paper or "–"] * paper]))
    return lines


def _change(difference: Difference | None) -> list[str]:
    """The cells of a run's difference from the one that it is a change of."""
    if difference is None:
        return ["–"] * 5
    found = [difference.of("eer", trials) for trials in TRIALS]
    cells = [["–", "–"] if one is None else [spread(one, 100, 2), between(one, 100, 2)] for one in found]
    return [*cells[0], *cells[1], difference.second.name]


def _differences(differences: Sequence[Difference]) -> list[str]:
    head = [
        "first − second",
        "trials",
        "seeds",
        "EER, points",
        "95 %",
        "seed by seed",
        "first is",
        "minDCF 0.05",
        "95 %",
    ]
    lines = [_line(head), _line(["---", "---", "---:", "---:", "---:", "---", "---", "---:", "---:"])]
    for difference in differences:
        for trials, name in TRIALS.items():
            eer, cost = difference.of("eer", trials), difference.of("min_dcf", trials)
            if eer is None or cost is None:
                continue
            cells = [f"{difference.first.name} − {difference.second.name}", name, difference.seeds]
            cells += [spread(eer, 100, 2), between(eer, 100, 2), " ".join(f"{100 * value:.2f}" for value in eer.values)]
            lines.append(_line([*cells, difference.verdict(eer), spread(cost, 1, 3), between(cost, 1, 3)]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(found: Estimate, scale: float, digits: int) -> str:
    """Mean ± standard deviation between seeds."""
    deviation = "" if found.deviation is None else f" ± {scale * found.deviation:.{digits}f}"
    return f"{scale * found.mean:.{digits}f}{deviation}"


def between(found: Estimate, scale: float, digits: int) -> str:
    """The interval's ends."""
    if found.low is None:
        return "–"
    return f"{scale * found.low:.{digits}f} … {scale * found.high:.{digits}f}"


def _middle(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def put_between_marks(path: str, text: str) -> None:
    """Replace what stands between the marks of a file."""
    old = Path(path).read_text(encoding="utf-8")
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        stop(f"{path}: expected one line {BEGIN!r} and one {END!r} after it")
    before, after = old[: old.index(BEGIN)], old[old.index(END) :]
    write(path, f"{before}{BEGIN}\n\n{text}\n\n{after}")


def write(path: str, text: str) -> None:
    """Whole or not at all."""
    part = Path(f"{path}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main(matrix: str, results: str, into: str = "", page: str = "") -> None:
    study = read_study(matrix, results)
    if not study.results:
        stop(f"{results}: no results")
    text = markdown(study)
    if into:
        put_between_marks(into, text)
    if page:
        from study_page import render

        os.makedirs(os.path.dirname(page) or ".", exist_ok=True)
        command = "local/study.sh --corpus-dir ROOT --whisper whisper-base-encoder --dvector WHEEL"
        write(page, render(study, f"{command} --matrix local/{os.path.basename(matrix)}"))
    print(text)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4, 5):
        sys.exit(f"usage: {sys.argv[0]} MATRIX RESULTS [MARKDOWN_FILE [PAGE]]")
    main(*sys.argv[1:])
