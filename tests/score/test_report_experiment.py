"""The table of an experiment's systems."""

from __future__ import annotations

import json

import pytest

from svtk.errors import DataError, SvtkError
from svtk.score.report.experiment import read_experiment
from svtk.score.report.table import format_table


@pytest.fixture
def experiment(tmp_path):
    def put(path: str, value: object) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))

    put("teacher/size.json", {"parameters": 9_000_000, "macs": 2_500_000_000, "duration": 3.0, "parts": []})
    put("teacher/train.json", {"seed": 0, "epochs": 4, "seconds": 61.6})
    put("teacher/eval_all/metrics.json", {"eer": 0.0512, "min_dcf": {"0.05": 0.25, "0.01": 0.5}})
    put("teacher/eval_same_sex/metrics.json", {"eer": 0.1, "min_dcf": {"0.05": 1}})
    put("sv_mixer/size.json", {"parameters": 1_234_567, "macs": 987_654_321, "duration": 2.0})
    put("sv_mixer/eval_all/scores", "not JSON, and not read")
    put("transformer/config.yaml", {})
    put("targets/layer3.scp", "")  # not a system
    put("log", "a file")
    return tmp_path


def test_one_row_per_system_and_trial_list(experiment):
    lines = format_table(read_experiment(experiment), "md").splitlines()[2:]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert rows == [
        ("teacher", "all", "5.12", "0.250", "0.500", "9.00", "2.500", "62"),
        ("sv_mixer", "all", "-", "-", "-", "1.23", "0.988 in 2 s", "-"),
        ("teacher", "same_sex", "10.00", "1.000", "-", "9.00", "2.500", "62"),
        ("transformer", "-", "-", "-", "-", "-", "-", "-"),
    ]


def test_systems_that_are_asked_for_in_their_order(experiment):
    names = ["sv_mixer", "teacher"]
    rows = read_experiment(experiment, names)
    assert [(row.system, row.trials) for row in rows] == [
        ("sv_mixer", "all"),
        ("teacher", "all"),
        ("teacher", "same_sex"),
    ]
    with pytest.raises(
        DataError, match="no such system; found nobody; expected some of sv_mixer, teacher, transformer"
    ):
        read_experiment(experiment, ["teacher", "nobody"])


def test_text_is_aligned(experiment):
    lines = format_table(read_experiment(experiment), title="Synthetic").splitlines()
    assert lines[:2] == ["Synthetic", ""]
    header, rule, *rows = lines[2:]
    assert header.split("  ")[0] == "system"
    assert len({len(line) for line in (header, rule, *rows)}) == 1
    for start in (i for i in range(1, len(rule)) if rule[i - 1] == " " and rule[i] == "-"):
        assert all(line[start - 2 : start] == "  " for line in (header, *rows))


def test_markdown_is_a_table(experiment):
    lines = format_table(read_experiment(experiment), "md").splitlines()
    assert {line.count("|") for line in lines} == {9}
    cells = [cell.strip() for cell in lines[1].strip("|").split("|")]
    assert all(set(cell) == {"-"} for cell in cells[:2])
    assert all(cell.endswith("-:") for cell in cells[2:])
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][:3] == ["teacher", "all", "5.12"]


def test_no_systems_is_an_error(tmp_path):
    (tmp_path / "targets").mkdir()
    with pytest.raises(DataError, match="no systems found"):
        read_experiment(tmp_path)
    with pytest.raises(DataError, match="no such experiment directory"):
        read_experiment(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"eer": 0.1', r"metrics.json:1: not valid JSON"),
        ("[]", "not a JSON object; found list"),
        ('{"eer": "low"}', "'eer' is not a number; found 'low'"),
        ('{"eer": 0.1, "min_dcf": [1]}', "'min_dcf' is not a mapping"),
        ('{"eer": 0.1, "interval": {"eer": 0.2}}', "'interval' of 'eer' is not two numbers; found 0.2"),
    ],
)
def test_a_damaged_file_is_named(experiment, text, message):
    (experiment / "teacher" / "eval_all" / "metrics.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_experiment(experiment)


def test_intervals_and_speed_stand_in_markdown(experiment):
    """Only of what is there; the text table is the same as ever."""
    metrics = {"eer": 0.05, "interval": {"eer": [0.04, 0.065]}, "min_cllr": 0.2}
    (experiment / "teacher" / "eval_all" / "metrics.json").write_text(json.dumps(metrics))
    before = format_table(read_experiment(experiment)).splitlines()[0]
    results = [{"engine": "onnx", "batch": 1, "rtf": 0.01}, {"engine": "eager", "batch": 1, "threads": 1, "rtf": 0.02}]
    (experiment / "sv_mixer" / "benchmark.json").write_text(json.dumps({"results": results}))
    rows = read_experiment(experiment)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in format_table(rows, "md").splitlines()]
    assert lines[0][8:] == ["95 % interval of EER", "minCllr", "real-time factor"]
    assert [line[8:] for line in lines[2:4]] == [["4.00 to 6.50", "0.200", "-"], ["-", "-", "0.0200"]]
    assert format_table(rows).splitlines()[0] == before


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.json", '{"history": {"epoch": 1}}', "'history' is not a list of mappings"),
        ("train.json", '{"seconds": NaN}', "'seconds' is not a number"),
        ("benchmark.json", '{"results": [1]}', "'results' is not a list of mappings"),
        ("model.safetensors", "short", "not a safetensors file"),
    ],
)
def test_damaged_files_of_a_system_are_named(experiment, file, text, message):
    (experiment / "teacher" / file).write_text(text)
    with pytest.raises(SvtkError, match=message) as raised:
        read_experiment(experiment)
    assert raised.value.path == experiment / "teacher" / file
