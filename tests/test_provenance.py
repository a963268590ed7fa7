"""Records of what files were made of."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from svtk import provenance
from svtk.errors import DataError
from svtk.kaldi.text import write_text
from svtk.provenance import Source, describe_inputs, is_unchanged, read_record, record_path, recorded


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sha256(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def make(output: str = "out", text: str = "made", **inputs: str) -> dict:
    """Write *output* and its record."""
    with recorded({name: Source(path, path) for name, path in inputs.items()}, [output], {"top_n": 3}):
        Path(output).write_text(text)
    return json.loads(Path(f"{output}.provenance.json").read_text())


def test_what_a_record_holds():
    Path("list").write_text("a b\n")
    record = make(trials="list")
    assert record["settings"] == {"top_n": 3} and record["directory"] == os.getcwd()
    assert record["inputs"]["trials"]["sha256"] == sha256("list") and record["inputs"]["trials"]["bytes"] == 4
    assert [item["path"] for item in record["outputs"]] == ["out"]
    assert record["outputs"][0]["sha256"] == sha256("out")
    assert {"python"} <= set(record["versions"]) and record["platform"]["machine"] == os.uname().machine
    assert read_record("out") == record
    assert not list(Path().glob("*.part"))


def test_the_source_is_told_from_its_revision(monkeypatch, place):
    """Another byte in one of svtk's modules is another source, whatever git says."""
    monkeypatch.setattr(provenance, "_ROOT", place)
    Path("a.py").write_text("x = 1\n")
    before = provenance._source_sha256()
    Path("a.py").write_text("x = 2\n")
    assert provenance._source_sha256() != before


@pytest.mark.parametrize("how", ["loose", "packed", "detached", "worktree"])
def test_the_revision_of_a_checkout(place, how):
    def git(*words: str) -> str:
        user = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *user, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "checkout")
    os.chdir("checkout")
    git("commit", "-q", "--allow-empty", "-m", "first")
    checkout = place / "checkout"
    if how == "packed":
        git("pack-refs", "--all")
    elif how == "detached":
        git("checkout", "-q", "--detach")
    elif how == "worktree":
        git("worktree", "add", "-q", "-b", "other", str(place / "tree"))
        checkout = place / "tree"
    assert provenance._revision(checkout) == git("rev-parse", "HEAD")


def test_no_checkout_is_no_revision(place):
    assert provenance._revision(place) is None
    Path(".git").write_bytes(b"\xff\xff")
    assert provenance._revision(place) is None


def test_a_record_never_stands_beside_another_file():
    make()
    write_text("out", ["made anew"])  # as every verb writes
    assert not Path("out.provenance.json").exists()
    make()
    Path("out").write_text("by hand")
    assert read_record("out") is None


def test_a_copy_is_still_what_it_was():
    make()
    os.utime("out", (1, 1))
    assert read_record("out") is None  # cheap: by size and time
    assert read_record("out", by_content=True) is not None
    Path("out").write_text("MADE")
    assert read_record("out", by_content=True) is None


def test_a_failed_run_leaves_all_as_it_was():
    before = make()
    with pytest.raises(ValueError), recorded({}, ["out", "other"], {}):
        raise ValueError
    assert read_record("out") == before and not Path("other.provenance.json").exists()


def test_what_was_left_as_it_was_keeps_its_record():
    before = make()
    with recorded({}, ["out"], {"another": "run"}):
        pass
    assert read_record("out") == before
    Path("unknown").write_text("made by nobody knows whom")
    with recorded({}, ["unknown"], {}):
        pass
    assert not Path("unknown.provenance.json").exists()


def test_only_the_first_of_several_processes_writes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with recorded({}, ["out"], {}):
        Path("out").write_text("x")
    assert not Path("out.provenance.json").exists()


def test_a_record_that_cannot_be_written_is_an_error():
    Path("out.provenance.json").mkdir()
    with pytest.raises(DataError, match=r"^out.provenance.json: cannot write: Is a directory"):
        make()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"outputs": [3]}'])
def test_a_damaged_record_is_an_error(text):
    make()
    Path("out.provenance.json").write_text(text)
    with pytest.raises(DataError, match="not a record of provenance. To mend: remove it"):
        read_record("out")
    assert make("next", earlier="out")["inputs"]["earlier"]["sha256"] == sha256("out")


def test_a_hash_is_taken_from_the_writers_record_while_size_and_time_agree():
    make()
    record = json.loads(Path("out.provenance.json").read_text())
    record["outputs"][0]["sha256"] = "of its writer"
    Path("out.provenance.json").write_text(json.dumps(record))
    entry = make("next", earlier="out")["inputs"]["earlier"]
    assert entry["sha256"] == "of its writer" and entry["provenance"] == "out.provenance.json"
    os.utime("out", (1, 1))
    assert make("next", earlier="out")["inputs"]["earlier"]["sha256"] == sha256("out")


def test_large_files_without_a_hash(monkeypatch):
    Path("big").write_bytes(bytes(100))
    monkeypatch.setattr(provenance, "_HASHED", 99)
    Path("model").mkdir()
    Path("model/model.safetensors").write_bytes(bytes(100))
    assert describe_inputs({"m": Source("model", "model")})["m"]["files"][0]["sha256"] == sha256("big")
    entry = describe_inputs({"a": Source("ark:big", "big")})["a"]
    assert entry["sha256"] is None and entry["given"] == "ark:big" and is_unchanged("big", entry)
    with recorded({}, ["out"], {}, max_hashed_output=2):
        Path("out").write_text("abc")
    assert read_record("out")["outputs"][0]["sha256"] is None


def test_a_script_file_and_its_archives():
    for name in ("a.ark", "b.ark"):
        make(name, name)
    Path("t.scp").write_text("u1 a.ark:3\nu2 b.ark:3[0:1]\n\nu3\ta.ark:99\nu4 cat x |\nu5 gone:1\n")
    entry = describe_inputs({"t": Source("scp:t.scp", "t.scp", is_script=True)})["t"]
    assert [item["path"] for item in entry["archives"]] == ["a.ark", "b.ark", "gone"]
    assert [item.get("provenance") for item in entry["archives"]] == [*(f"{n}.ark.provenance.json" for n in "ab"), None]
    assert entry["sha256"] == sha256("t.scp") and entry["archives"][0]["sha256"] == sha256("a.ark")


def test_one_file_per_key_is_counted_only():
    Path("t.scp").write_text("".join(f"u{i} file{i}\n" for i in range(1001)))
    entry = describe_inputs({"t": Source("scp:t.scp", "t.scp", is_script=True)})["t"]
    assert entry["num_archives"] == 1001 and "archives" not in entry


def test_an_input_that_changes_after_it_was_hashed_is_told(monkeypatch):
    hashed, sha256_of = threading.Event(), provenance._sha256

    def hash_then_tell(path, stop=None):
        found = sha256_of(path, stop)
        hashed.set()
        return found

    monkeypatch.setattr(provenance, "_sha256", hash_then_tell)
    Path("in").write_text("x")
    with recorded({"a": Source("in", "in")}, ["out"], {}):
        assert hashed.wait(10)
        Path("in").write_text("another")
        Path("out").write_text("x")
    assert read_record("out")["inputs"]["a"]["changed"] == "while it was read, or by this command"


def test_no_file_is_opened_that_would_be_waited_for():
    os.mkfifo("pipe")
    sources = {"a": Source("pipe", "pipe"), "b": Source("-", None, "stdin"), "c": Source("org/model", "org/model")}
    assert describe_inputs(sources) == {
        "a": {"path": "pipe", "kind": "stream"},
        "b": {"path": "-", "kind": "stdin"},
        "c": {"path": "org/model", "kind": "name"},
    }


def test_a_directory_is_what_its_files_are():
    Path("model/encoder").mkdir(parents=True)
    with recorded({}, ["model"], {}):
        for name in ("config.yaml", "model.safetensors", "encoder/model.safetensors", "train.json"):
            Path("model", name).write_text(name)
    assert record_path("model") == Path("model/provenance.json")
    record = read_record("model")
    assert len(record["outputs"]) == 3
    entry = describe_inputs({"m": Source("model", "model")})["m"]
    assert {item["path"]: item["sha256"] for item in entry["files"]} == {
        item["path"]: sha256(item["path"]) for item in record["outputs"]
    }
    Path("model/model.safetensors").write_text("trained on")
    assert read_record("model") is None
