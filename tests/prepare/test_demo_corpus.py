from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import soundfile

from svtk.errors import DataError, SvtkError
from svtk.prepare import demo_corpus
from svtk.prepare.demo_corpus import draw_speakers, make_demo_corpus, synthetic_rir
from svtk.prepare.espeak import Synthesizer

pytest.importorskip("espeakng_loader")


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, verb):
    out_dir = tmp_path_factory.mktemp("corpora") / "demo"
    options = ("--num-spks", 6, "--num-test-spks", 2, "--utts-per-spk", 2, "--seed", 3)
    done = verb("make-demo-corpus", *options, out_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return out_dir


def test_layout_and_format(corpus):
    rows = [line.split("\t") for line in (corpus / "speakers.tsv").read_text().splitlines()]
    assert rows[0] == ["spk", "split", "sex", "age"]
    assert len(rows) == 7
    for spk, split, sex, age in rows[1:]:
        assert sex in "mf" and age == "0"
        assert len(list((corpus / split / spk).glob("*.flac"))) == 2
    assert {path.name for path in (corpus / "train").iterdir()}.isdisjoint(p.name for p in (corpus / "test").iterdir())
    assert len(list((corpus / "test").iterdir())) == 2
    assert len(list((corpus / "noise").glob("*.flac"))) >= 6
    assert len(list((corpus / "rirs").glob("*.flac"))) >= 10
    for path in corpus.rglob("*.flac"):
        samples, rate = soundfile.read(path)
        assert rate == 16000 and samples.ndim == 1 and np.abs(samples).max() > 0.05, path
    for path in [*corpus.glob("train/*/*"), *corpus.glob("test/*/*")]:
        assert 1.2 < soundfile.info(path).duration < 8


def test_same_seed_same_corpus_other_seed_another(corpus, tmp_path):
    make_demo_corpus(tmp_path / "same", num_spks=6, num_test_spks=2, utts_per_spk=2, seed=3)
    assert digests(tmp_path / "same") == digests(corpus)
    make_demo_corpus(tmp_path / "other", num_spks=6, num_test_spks=2, utts_per_spk=2, seed=4)
    one, other = digests(tmp_path / "other"), digests(corpus)
    assert all(one[name] != other[name] for name in one if name.endswith(".flac"))


def test_a_rerun_leaves_the_corpus_alone_and_other_parameters_are_refused(corpus, verb):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    options = ("--num-spks", 6, "--num-test-spks", 2, "--utts-per-spk", 2)
    again = verb("make-demo-corpus", *options, "--seed", 3, corpus)
    assert again.returncode == 0 and "already there" in again.stderr
    refused = verb("make-demo-corpus", *options, "--seed", 4, corpus)
    assert refused.returncode == 1
    assert (
        refused.stderr.count("Error:") == 1 and "'seed': 3" in refused.stderr and "To mend: remove it" in refused.stderr
    )
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_foreign_directory_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not a demo corpus"):
        make_demo_corpus(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_one_recovers(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo_corpus, "_noises", killed)
        make_demo_corpus(tmp_path / "demo", num_spks=2, num_test_spks=1, utts_per_spk=1)
    assert not (tmp_path / "demo").exists()
    assert make_demo_corpus(tmp_path / "demo", num_spks=2, num_test_spks=1, utts_per_spk=1)
    assert json.loads((tmp_path / "demo/corpus.json").read_text())["num_spks"] == 2
    assert not (tmp_path / "demo.part").exists()


@pytest.mark.parametrize(("num_spks", "num_test", "utts"), [(4, 4, 1), (4, 0, 1), (4, 2, 0)])
def test_senseless_sizes(tmp_path, num_spks, num_test, utts):
    with pytest.raises(DataError, match="senseless"):
        make_demo_corpus(tmp_path / "demo", num_spks=num_spks, num_test_spks=num_test, utts_per_spk=utts)


def test_missing_loader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SvtkError, match=r"To mend: pip install 'svtk\[demo\]'"):
        make_demo_corpus(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_speakers_are_distinct_balanced_and_share_variants():
    speakers = draw_speakers(168, 24, seed=0)
    assert len({(s.variant, s.pitch, s.warp) for s in speakers}) == 168
    for split, count in (("train", 144), ("test", 24)):
        members = [s for s in speakers if s.split == split]
        assert len(members) == count and sum(s.sex == "f" for s in members) == count // 2
    variants = [s.variant for s in speakers if s.split == "train"]
    assert len(set(variants)) == 46 and min(map(variants.count, variants)) >= 2


TEXT = "The night watchman counted three heavy suitcases."


def spoken(text=TEXT, voice="en-us+m1", **parameters):
    return Synthesizer().speak(text, voice, **parameters)


@pytest.mark.parametrize("voice", ["en-us+m1", "en-us+f3"])  # f3 has breath noise
def test_two_synthesizers_say_the_same(voice):
    assert np.array_equal(spoken(voice=voice, seed=5), spoken(voice=voice, seed=5))


def test_voice_parameters_reach_the_sound():
    plain = spoken()
    assert len(spoken(rate=120)) > 1.2 * len(plain)
    assert not np.array_equal(plain[:5000], spoken(pitch=80)[:5000])
    assert not np.array_equal(plain[:5000], spoken(voice="en-us+m4")[:5000])
    with pytest.raises(SvtkError, match="no such voice"):
        spoken(voice="xx-none+m1")


def test_warp_moves_the_spectrum_and_keeps_the_tempo():
    def centroid_and_length(warp):
        person = demo_corpus.Speaker("s", "train", "m", "m1", 50, 50, 165, warp)
        wav = demo_corpus.speak(Synthesizer(), person, TEXT, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(wav)) ** 2
        return np.sum(power * np.fft.rfftfreq(len(wav), 1 / 16000)) / power.sum(), len(wav)

    low, low_length = centroid_and_length(0.87)
    high, high_length = centroid_and_length(1.15)
    assert high > 1.1 * low
    assert high_length == pytest.approx(low_length, rel=0.1)


def test_room_decays_as_its_reverberation_time_says():
    rir = synthetic_rir(np.random.default_rng(0), reverb_time=0.5, direct_to_reverberant=0.0).astype(np.float64)
    assert rir[0] == pytest.approx(np.abs(rir).max())
    energy = np.cumsum(rir[::-1] ** 2)[::-1]  # Schroeder's integral
    level = 10 * np.log10(energy / energy[round(0.05 * 16000)])
    early, late = round(0.05 * 16000), round(0.25 * 16000)
    assert (level[early] - level[late]) / 0.2 * 0.5 == pytest.approx(60, rel=0.1)
