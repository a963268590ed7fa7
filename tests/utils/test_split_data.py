"""utils/split_scp.sh and utils/split_data.sh: parts in order, even, whole; every file of a data directory follows."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svtk.data.cuts import load_cuts, load_utterances
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir

UTILS = Path(__file__).resolve().parents[2] / "utils"


def run(script: str, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([str(UTILS / script), *map(str, words)], cwd=cwd, capture_output=True, text=True)


def split_table(tmp_path: Path, lines: list[str], parts: int, *options: str) -> list[list[str]]:
    (tmp_path / "in").write_text("".join(line + "\n" for line in lines))
    done = run("split_scp.sh", *options, "in", *(f"x={i}" for i in range(parts)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return [(tmp_path / f"x={i}").read_text().splitlines() for i in range(parts)]


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (10, 3), (10, 10), (7, 2), (100, 7)])
def test_a_table_is_split_in_order_and_evenly(tmp_path, count, parts):
    lines = [f"key{i % 4}  value {i}" for i in range(count)]  # keys may stand twice: a trial list
    split = split_table(tmp_path, lines, parts)
    assert sum(split, []) == lines
    sizes = [len(part) for part in split]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_a_speaker_stays_whole(tmp_path, parts):
    sizes = {"a": 1, "b": 20, "c": 3, "d": 1, "e": 4}
    lines = [f"{spk}-{i} {spk}" for spk, size in sizes.items() for i in range(size)]
    lines.append("late a")  # not beside its speaker
    split = split_table(tmp_path, lines, parts, "--utt2spk", "in")
    assert sorted(sum(split, [])) == sorted(lines)
    speakers = [{line.split()[1] for line in part} for part in split]
    assert all(speakers) and sum(map(len, speakers)) == 5


def test_more_parts_than_there_are_is_refused(tmp_path):
    (tmp_path / "in").write_text("u1 s\nu2 s\n")
    done = run("split_scp.sh", "in", "a", "b", "c", cwd=tmp_path)
    assert done.returncode == 1 and "2 line(s) cannot fill 3 parts. To mend: ask for no more than 2" in done.stderr
    done = run("split_scp.sh", "--utt2spk", "in", "in", "a", "b", cwd=tmp_path)
    assert done.returncode == 1 and "1 speaker(s) cannot fill 2 parts" in done.stderr
    (tmp_path / "scp").write_text("u1 x\nu3 y\n")
    done = run("split_scp.sh", "--utt2spk", "in", "scp", "a", cwd=tmp_path)
    assert done.returncode == 1 and 'scp:2: "u3" is not in ' in done.stderr


@pytest.fixture(params=["whole recordings", "segments", "pipes"])
def data(tmp_path, request):
    """7 speakers with 3 utterances each, with the manifest and further files."""
    rng = np.random.default_rng(1)
    utterances = []
    for spk in range(7):
        for i in range(3):
            utt = f"s{spk}-{i}"
            place = {"recording": utt}
            if request.param == "segments":
                place = {"recording": f"r{spk}", "start": 0.1 * i, "end": 0.1 * i + 0.15}
            wav = tmp_path / f"{place['recording']}.wav"
            if not wav.exists():
                soundfile.write(wav, 0.1 * rng.standard_normal(8000), 16_000)
            text = f"cat {wav} |" if request.param == "pipes" else str(wav)
            duration = 0.15 if request.param == "segments" else 0.5
            utterances.append(Utterance(utt, f"s{spk}", text, duration=duration, gender="mf"[spk % 2], **place))
    write_data_dir(tmp_path / "data", utterances)
    (tmp_path / "data/text").write_text("".join(f"{u.utt} some words\n" for u in utterances))
    (tmp_path / "data/reco2dur").write_text("".join(f"{r} 0.5\n" for r in sorted({u.recording for u in utterances})))
    load_cuts(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("options", [[], ["--per-utt"]])
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_parts_are_data_directories(data, options, parts):
    done = run("split_data.sh", *options, data, parts)
    assert done.returncode == 0, done.stderr
    split = data / f"split{parts}{'utt' if options else ''}"
    assert sorted(path.name for path in split.iterdir()) == [str(i) for i in range(1, parts + 1)]
    dirs = [read_data_dir(split / str(i)) for i in range(1, parts + 1)]
    assert sum((part.utterances for part in dirs), []) == read_data_dir(data).utterances
    speakers = [set(part.utt2spk.values()) for part in dirs]
    if not options:
        assert sum(map(len, speakers)) == 7
    for part in dirs:
        recordings = [line.split()[0] for line in (part.path / "wav.scp").read_text().splitlines()]
        assert recordings == sorted({u.recording for u in part.utterances})
        assert (part.path / "reco2dur").read_text().split()[::2] == recordings
        assert (part.path / "text").read_text().split()[::3] == [u.utt for u in part.utterances]
        spks = [line.split()[0] for line in (part.path / "spk2gender").read_text().splitlines()]
        assert spks == sorted(set(part.utt2spk.values()))


def test_the_manifest_is_split_too(data):
    assert run("split_data.sh", "--per-utt", data, 4, data.parent / "out").returncode == 0
    cuts = []
    for i in range(1, 5):
        manifest = data.parent / f"out/{i}/cuts.jsonl.gz"
        before = manifest.stat().st_mtime_ns
        cuts += list(load_utterances(data.parent / f"out/{i}"))
        assert manifest.stat().st_mtime_ns == before  # it was not made again
    assert cuts == list(load_utterances(data))


def test_a_manifest_that_is_older_or_lacks_utterances_is_left_out(data):
    out = data.parent / "out"
    with gzip.open(data / "cuts.jsonl.gz", "rt") as file:
        lines = file.readlines()
    with gzip.open(data / "cuts.jsonl.gz", "wt") as file:
        file.writelines(lines[1:])
    run("split_data.sh", data, 3, out)
    assert [(out / f"{i}/cuts.jsonl.gz").exists() for i in (1, 2, 3)] == [False, True, True]
    os.utime(data / "cuts.jsonl.gz", (0, 0))
    run("split_data.sh", data, 3, out)
    assert not list(out.glob("*/cuts.jsonl.gz"))


def test_an_earlier_split_is_replaced_whole_and_a_failed_one_leaves_none(data):
    out = data.parent / "out"
    assert run("split_data.sh", data, 5, out).returncode == 0
    assert run("split_data.sh", data, 2, out).returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ["1", "2"]
    done = run("split_data.sh", data, 8, data.parent / "more")
    assert done.returncode == 1 and "7 speaker(s) cannot fill 8 parts" in done.stderr
    assert not list(data.parent.glob("more*"))


@pytest.mark.parametrize("words", [[], ["data"], ["data", "0"], ["data", "x"], ["data", "1", "out", "more"]])
def test_wrong_usage(words):
    done = run("split_data.sh", *words)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


def test_no_data_directory(tmp_path):
    done = run("split_data.sh", tmp_path, 2)
    assert done.returncode == 1 and "wav.scp is missing or empty. To mend: " in done.stderr
