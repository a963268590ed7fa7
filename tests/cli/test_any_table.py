"""Every verb between any two Kaldi tools: verbs × the forms of specifiers that Kaldi's tools read and write.

In one process with click's runner, stdin and stdout being its own; the real ones, in shell pipelines, at the end.
Trial lists, scores and other text: test_any_text.py.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
from click.testing import CliRunner

from svtk.cli.main import svtk
from svtk.kaldi.datadir import read_data_dir
from svtk.kaldi.tables import TableWriter, read_table

RNG = np.random.default_rng(11)
ROWS = {f"s{spk}-{i}": RNG.integers(-8, 8, 4).astype(np.float32) for spk in range(3) for i in range(2)}
SPK2UTT = "".join(f"s{spk} s{spk}-0 s{spk}-1\n" for spk in range(3))
MEANS = {f"s{spk}": (ROWS[f"s{spk}-0"] + ROWS[f"s{spk}-1"]) / 2 for spk in range(3)}
PAIRS = [(a, b) for n, a in enumerate(ROWS) for b in list(ROWS)[n + 1 :]]
TRIALS = "".join(f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in PAIRS)

#: rspecifier -> the file that stdin is, if any; the script's ranges take all of a vector
READ = {
    "ark:e.ark": None,
    "ark:e.txt": None,
    "ark,t:e.txt": None,
    "ark,s,cs,bg:e.ark": None,
    "scp:e.scp": None,
    "scp,p:e.scp": None,
    "scp:text.scp": None,
    "scp:ranges.scp": None,
    "scp:pipes.scp": None,
    "ark:-": "e.ark",
    "ark,t:-": "e.txt",
    "scp:-": "e.scp",
    "ark:gunzip -c e.ark.gz |": None,
    "scp:head -n 6 e.scp |": None,
}
#: wspecifier -> the file or stdout ("-") where the table then is, and whether it is text
WRITE = {
    "ark:o.ark": ("o.ark", False),
    "ark,b:o.ark": ("o.ark", False),
    "ark,t:o.txt": ("o.txt", True),
    "ark,scp:o.ark,o.scp": ("o.ark", False),
    "scp,ark:o.scp,o.ark": ("o.ark", False),
    "ark,t,scp:o.txt,o.scp": ("o.txt", True),
    "ark:-": ("-", False),
    "ark,t:-": ("-", True),
    "ark:| cat > o.ark": ("o.ark", False),
    "ark,t:| gzip -c > o.gz": ("o.gz", True),
}


def run(*args: object, stdin: str | None = None) -> bytes:
    """Run a verb that must succeed; gives its stdout, which nothing but data may reach."""
    feed = b"" if stdin is None else Path(stdin).read_bytes()
    done = CliRunner().invoke(svtk, [str(arg) for arg in args], input=feed, prog_name="svtk")
    assert done.exit_code == 0, (done.exception, done.stderr)
    return done.stdout_bytes


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TableWriter("ark,scp:e.ark,e.scp") as binary, TableWriter("ark,t,scp:e.txt,text.scp") as text:
        for utt, row in ROWS.items():
            binary.write(utt, row)
            text.write(utt, row)
    (tmp_path / "e.ark.gz").write_bytes(gzip.compress((tmp_path / "e.ark").read_bytes()))
    entries = [line.split() for line in (tmp_path / "e.scp").read_text().splitlines()]
    (tmp_path / "ranges.scp").write_text("".join(f"{utt} {entry}[0:3]\n" for utt, entry in entries))
    cut = (f"tail -c +{int(entry.split(':')[1]) + 1} e.ark" for _, entry in entries)
    (tmp_path / "pipes.scp").write_text("".join(f"{utt} {c} |\n" for utt, c in zip(ROWS, cut, strict=True)))
    (tmp_path / "spk2utt").write_text(SPK2UTT)
    (tmp_path / "trials").write_text(TRIALS)
    return tmp_path


def written(wspecifier: str, stdout: bytes) -> dict[str, np.ndarray]:
    """What a reader that is not ours finds where the wspecifier put it."""
    where, is_text = WRITE[wspecifier]
    data = stdout if where == "-" else Path(where).read_bytes()
    assert where == "-" or stdout == b""
    data = gzip.decompress(data) if where.endswith(".gz") else data
    assert is_text == (b"\0B" not in data)
    if is_text:
        lines = (line.split() for line in data.decode().splitlines())
        table = {key: np.array([float(x) for x in body[1:-1]], dtype=np.float32) for key, *body in lines}
    else:
        Path("copy.ark").write_bytes(data)
        table = dict(kaldiio.load_ark("copy.ark"))
    if "scp" in wspecifier:
        assert list(kaldiio.load_scp("o.scp")) == list(table)
        for key, row in kaldiio.load_scp("o.scp").items():
            np.testing.assert_array_equal(row, table[key])
    return table


# Verbs that read vectors


@pytest.mark.parametrize("rspecifier", READ)
def test_average_embeddings_reads(place, rspecifier):
    stdout = run("average-embeddings", "spk2utt", rspecifier, "ark,t:-", stdin=READ[rspecifier])
    lines = [f"{spk}  [ {' '.join(str(x) for x in row)} ]" for spk, row in MEANS.items()]
    assert stdout.decode() == "\n".join(lines) + "\n"


def cosines() -> str:
    unit = {utt: row / np.linalg.norm(row) for utt, row in ROWS.items()}
    return "".join(f"{a} {b} {unit[a] @ unit[b]:.6f}\n" for a, b in PAIRS)


def same_scores(stdout: bytes, expected: str) -> None:
    found, wanted = ([line.split() for line in text.splitlines()] for text in (stdout.decode(), expected))
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    np.testing.assert_allclose([float(row[2]) for row in found], [float(row[2]) for row in wanted], atol=2e-6)


@pytest.mark.parametrize("rspecifier", READ)
@pytest.mark.parametrize("side", ["enroll", "test", "both"])
def test_score_reads(place, rspecifier, side):
    enroll = "scp:e.scp" if side == "test" else rspecifier
    test = "scp:e.scp" if side == "enroll" else rspecifier
    same_scores(run("score", "trials", enroll, test, "-", stdin=READ[rspecifier]), cosines())


@pytest.mark.parametrize("rspecifier", READ)
def test_score_takes_its_mean_from(place, rspecifier):
    expected = run("score", "--mean=scp:e.scp", "trials", "scp:e.scp", "scp:e.scp", "-")
    assert (
        run("score", "--mean", rspecifier, "trials", "scp:e.scp", "ark:e.txt", "-", stdin=READ[rspecifier]) == expected
    )


@pytest.mark.parametrize("text", [True, False])
def test_score_takes_kaldis_mean_vec(place, text):
    mean = np.mean(list(ROWS.values()), axis=0)
    data = f" [ {' '.join(map(str, mean))} ]\n".encode() if text else b"\0BFV \4\4\0\0\0" + mean.tobytes()
    (place / "mean.vec").write_bytes(data)
    found = run("score", "--mean=mean.vec", "trials", "scp:e.scp", "scp:e.scp", "-")
    same_scores(found, run("score", "--mean=scp:e.scp", "trials", "scp:e.scp", "scp:e.scp", "-").decode())


PLDA = [
    ["train-plda", "--mean-out=mean.vec", "ark:spk2utt", "{}", "out"],
    ["adapt-plda", "--mean={}", "plda", "scp:e.scp", "out"],
    ["adapt-plda", "plda", "{}", "out"],
]


@pytest.mark.parametrize("rspecifier", READ)
@pytest.mark.parametrize("args", PLDA, ids=lambda args: f"{args[0]} {args.index('{}') if '{}' in args else 'mean'}")
def test_plda_reads(place, args, rspecifier):
    run("train-plda", "spk2utt", "ark:e.ark", "plda")
    run(*(arg.format("scp:e.scp") for arg in args))
    expected = (place / "out").read_bytes()
    (place / "out").unlink()
    assert run(*(arg.format(rspecifier) for arg in args), stdin=READ[rspecifier]) == b""
    assert (place / "out").read_bytes() == expected


@pytest.mark.parametrize("rspecifier", READ)
@pytest.mark.parametrize("side", ["cohort", "enroll", "test"])
def test_normalize_scores_reads(place, rspecifier, side):
    def normalized(source, **stdin):
        cohort, enroll, test = (source if name == side else "scp:e.scp" for name in ("cohort", "enroll", "test"))
        return run("normalize-scores", "--top-n=3", "--cohort", cohort, "scores", enroll, test, "-", **stdin)

    run("score", "trials", "scp:e.scp", "scp:e.scp", "scores")
    assert normalized(rspecifier, stdin=READ[rspecifier]) == normalized("ark:e.ark")


# Verbs that write vectors


@pytest.mark.parametrize("wspecifier", WRITE)
def test_average_embeddings_writes(place, wspecifier):
    table = written(wspecifier, run("average-embeddings", "spk2utt", "scp:e.scp", wspecifier))
    assert list(table) == list(MEANS)
    for spk, row in table.items():
        np.testing.assert_array_equal(row, MEANS[spk])


def test_average_embeddings_writes_where_a_script_says(place):
    (place / "o.scp").write_text("".join(f"{spk} {spk}.vec\n" for spk in ("s2", "s0", "s1")))
    run("average-embeddings", "spk2utt", "scp:e.scp", "scp:o.scp")
    for spk, row in MEANS.items():
        np.testing.assert_array_equal(kaldiio.load_mat(f"{spk}.vec"), row)


def integers(stdout: bytes, wspecifier: str) -> dict[str, int]:
    """What Kaldi's own reader finds."""
    where = WRITE[wspecifier][0]
    data = stdout if where == "-" else Path(where).read_bytes()
    Path("copy.ark").write_bytes(gzip.decompress(data) if where.endswith(".gz") else data)
    with kaldi_native_io.SequentialInt32Reader("ark:copy.ark") as reader:
        return dict(reader)


@pytest.mark.parametrize("wspecifier", WRITE)
def test_numbers_of_utterances(place, wspecifier):
    (place / "spk2utt").write_text("s1 s1-0\ns0 s0-0 s0-1 nowhere\ns7 nobody\n")
    stdout = run("average-embeddings", "spk2utt", "scp:e.scp", "ark:m.ark", wspecifier)
    assert integers(stdout, wspecifier) == {"s1": 1, "s0": 2}
    if wspecifier == "ark,t:-":
        assert stdout == b"s1 1 \ns0 2 \n"  # with the blank that Kaldi writes


# What cannot be

SHARED = [
    (["score", "-", "ark:-", "scp:e.scp", "-"], "TRIALS and ENROLL_RSPECIFIER cannot both be stdin"),
    (["score", "trials", "ark:-", "scp:-", "-"], "ENROLL_RSPECIFIER and TEST_RSPECIFIER cannot both be stdin"),
    (["score", "--mean=ark:-", "-", "scp:e.scp", "scp:e.scp", "-"], "TRIALS and --mean cannot both be stdin"),
    (["compute-metrics", "-", "-"], "SCORES and TRIALS cannot both be stdin"),
    (["average-embeddings", "-", "ark:-", "ark:o.ark"], "SPK2UTT and RSPECIFIER cannot both be stdin"),
    (["train-plda", "-", "ark:-", "plda"], "SPK2UTT and RSPECIFIER cannot both be stdin"),
    (["normalize-scores", "--cohort=ark:-", "-", "scp:e.scp", "scp:e.scp", "-"], "cannot both be stdin"),
    (["normalize-scores", "--cohort=scp:e.scp", "-", "ark:-", "scp:e.scp", "-"], "cannot both be stdin"),
    (
        ["average-embeddings", "spk2utt", "ark:e.ark", "ark:-", "ark,t:-"],
        "WSPECIFIER and NUM_UTTS_WSPECIFIER cannot both be stdout",
    ),
]


@pytest.mark.parametrize(("args", "message"), SHARED)
def test_stdin_and_stdout_are_one_each(place, args, message):
    done = CliRunner().invoke(svtk, args, prog_name="svtk")
    assert done.stdout_bytes == b"" and message in str(done.exception)


@pytest.mark.parametrize("output", ["o.txt", "| cat > o.txt.part && mv o.txt.part o.txt"])
def test_a_failing_input_pipe_leaves_no_output(place, output):
    """As a Kaldi recipe would lose it: the pipe gives whole entries, then fails."""
    failing = "ark:cat e.ark; exit 7 |"
    commands = (
        ["average-embeddings", "spk2utt", failing, f"ark,t:{output}"],
        ["score", "trials", *[failing] * 2, output],
    )
    for args in commands:
        done = CliRunner().invoke(svtk, args, prog_name="svtk")
        assert "input pipe failed with exit status 7" in str(done.exception) and done.stdout_bytes == b""
        assert not (place / "o.txt").exists()


# In a shell, with real pipes


def shell(script: str) -> subprocess.CompletedProcess:
    script = script.replace("svtk", f"'{sys.executable}' -m svtk")
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True)


def test_a_pipeline_of_verbs(place):
    (place / "enroll.trials").write_text("s0 s0-0 target\ns0 s1-0 nontarget\ns2 s2-1 target\ns1 s0-1 nontarget\n")
    done = shell(
        "cat e.ark | svtk average-embeddings spk2utt ark:- ark:- 2> log"
        " | svtk score enroll.trials ark:- scp:e.scp - | svtk compute-metrics - enroll.trials"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"2 target, 2 nontarget\n")
    assert b"means of 3 speakers, of 6 embeddings" in (place / "log").read_bytes()


# extract-embeddings, in this process but for one pipeline: torch takes seconds to start


@pytest.fixture
def audio(place, corpus):
    """wav.scp, an archive of the same audio and a script into it, and the data directory."""
    utterances = read_data_dir(corpus.valid).utterances
    data, entries = b"", []
    for u in utterances:
        data += u.utt.encode() + b" "
        entries.append(f"{u.utt} wav.ark:{len(data)}\n")
        data += Path(u.wav).read_bytes()
    (place / "wav.ark").write_bytes(data)
    (place / "wav_ark.scp").write_text("".join(entries))
    (place / "wav.scp").write_text("".join(f"{u.utt} {u.wav}\n" for u in utterances))
    (place / "pipe.scp").write_text("".join(f"{u.utt} cat {u.wav} |\n" for u in utterances))
    (place / "data").symlink_to(corpus.valid)
    return place


SOURCES = {
    "data": None,
    "scp:wav.scp": None,
    "scp,p:pipe.scp": None,
    "scp:wav_ark.scp": None,
    "scp:-": "wav.scp",
    "scp:cat wav.scp |": None,
    "ark:wav.ark": None,
    "ark:-": "wav.ark",
    "ark:cat wav.ark |": None,
}


@pytest.fixture(scope="module")
def embeddings(student_dir, corpus, tmp_path_factory) -> dict[str, np.ndarray]:
    """What the data directory gives."""
    where = tmp_path_factory.mktemp("expected") / "e.ark"
    run("extract-embeddings", student_dir, corpus.valid, f"ark:{where}")
    return dict(kaldiio.load_ark(str(where)))


def same_table(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for key, row in found.items():
        np.testing.assert_allclose(row, expected[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_extract_embeddings_reads(audio, student_dir, embeddings, source):
    stdout = run("extract-embeddings", student_dir, source, "ark:-", stdin=SOURCES[source])
    same_table(written("ark:-", stdout), embeddings)


@pytest.mark.parametrize("wspecifier", WRITE)
def test_extract_embeddings_writes(audio, student_dir, embeddings, wspecifier):
    same_table(written(wspecifier, run("extract-embeddings", student_dir, "scp:wav.scp", wspecifier)), embeddings)


@pytest.mark.parametrize("compress", ["none", "auto", "two-byte"])
def test_teacher_targets_are_kaldis_tables(audio, wavlm_dir, compress):
    """Kaldi's own reader and ours see the same matrices, by the script and by the archive."""
    options = ["--layers=all", "--min-duration=0.5", f"--compress={compress}", "--teacher", wavlm_dir]
    assert run("extract-targets", *options, "data", "out") == b""
    for layer in range(3):
        ours = dict(read_table(f"scp:out/layer{layer}.scp"))
        assert list(ours) == [u.utt for u in read_data_dir("data").utterances]
        for source in ("scp:out/layer{}.scp", "ark:out/layer{}.ark", "ark:cat out/layer{}.ark |"):
            with kaldi_native_io.SequentialFloatMatrixReader(source.format(layer)) as reader:
                theirs = {utt: np.array(matrix) for utt, matrix in reader}
            assert list(theirs) == list(ours)
            for utt, matrix in theirs.items():
                assert matrix.shape[1] == 12
                np.testing.assert_allclose(matrix, ours[utt], rtol=0, atol=1e-6)


def test_teacher_targets_go_to_a_directory(audio, wavlm_dir):
    words = ["extract-targets", "--teacher", wavlm_dir, "data", "ark,t:-"]
    done = CliRunner().invoke(svtk, words, prog_name="svtk")
    assert "teacher targets go to a directory; found 'ark,t:-'. To mend: name a directory" in str(done.exception)
    assert not list(audio.glob("ark*"))


def test_extract_embeddings_in_a_pipeline(audio, student_dir, embeddings):
    (audio / "spk2utt").write_text(f"all {' '.join(embeddings)}\n")
    done = shell(
        f"cat wav.ark | svtk extract-embeddings {student_dir} ark:- ark:- 2> log | tee o.ark"
        " | svtk average-embeddings spk2utt ark:- ark,t:- 2> /dev/null"
    )
    assert done.returncode == 0, (audio / "log").read_text()
    same_table(written("ark:o.ark", b""), embeddings)
    key, *body = done.stdout.decode().split()
    mean = np.mean(list(embeddings.values()), axis=0)
    assert key == "all"
    np.testing.assert_allclose([float(x) for x in body[1:-1]], mean, rtol=0, atol=1e-5)
