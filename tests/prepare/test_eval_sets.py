"""Corpora of seconds in the layouts of the evaluation sets, with lists of a few lines in each one's own form."""

from __future__ import annotations

import dataclasses
import logging
import shutil

import pytest
from click.testing import CliRunner

from svtk.cli import prepare_eval_set as verb_module
from svtk.cli.main import svtk
from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import read_data_dir
from svtk.prepare.eval_sets import EVAL_SETS, prepare_eval_set, read_list

VOICES = "Lab41-SRI-VOiCES-rm1-babb-{}-ch0{}-sg0001-mc01-stu-clo-dg080"


@pytest.fixture
def vox1(tmp_path, tone):
    root = tmp_path / "voxceleb1"
    for name in ("id10270/5r0dWxy17C8/00001", "id10270/x6uYqmx31kE/00002", "id10341/rX4LkvzySSM/00006"):
        tone(root / f"test/wav/{name}.wav", 0.2)
    return root


@pytest.fixture
def voxsrc22(tmp_path, tone):
    """The list beside the folder that its names begin with, as the archives unpack; half is VoxCeleb1."""
    root = tmp_path / "voxsrc2022"
    for i in range(3):
        tone(root / f"VoxSRC2022_dev/dev_0000{i}.wav", 0.2 + i / 10)
    (root / "voxsrc2022_dev.txt").write_text("an older list\n")
    (root / "voxsrc2022_dev_fixed.txt").write_text(
        "1 id10270/5r0dWxy17C8/00001.wav id10270/x6uYqmx31kE/00002.wav\n"
        "0 VoxSRC2022_dev/dev_00000.wav VoxSRC2022_dev/dev_00001.wav\n"
    )
    return root


@pytest.fixture
def voxsrc23(tmp_path, tone):
    root = tmp_path / "voxsrc2023"
    for name in ("a1", "a2", "b1", "unlisted"):
        tone(root / f"VoxSRC2023_val/{name}.wav", 0.2)
    (root / "VoxSRC2023_val.txt").write_text("1 a1.wav a2.wav\n0 a1.wav b1.wav\n")
    return root


@pytest.fixture
def vcmix(tmp_path, tone):
    root = tmp_path / "vcmix"
    tone(root / "aepyx/00001.wav", 0.2)
    tone(root / "bxcfq/00001.wav", 0.3)
    (root / "vcmix_test.txt").write_text(
        "0 aepyx/00001.wav bxcfq/00001.wav\n1 id10270/5r0dWxy17C8/00001.wav id10270/x6uYqmx31kE/00002.wav\n"
    )
    return root


@pytest.fixture
def voices(tmp_path, tone):
    """Both halves under one root, and recordings of the same names for speech recognition, as distributed."""
    root = tmp_path / "VOiCES_Box_unzip"
    dev, lines = root / "Development_Data/Speaker_Recognition", []
    for spk, take, label in (("sp0032", "1", "tgt"), ("sp0083", "2", "imp")):
        tone(dev / f"sid_dev/{spk}/{VOICES.format(spk, take)}.wav", 0.2)
        lines.append(f"{VOICES.format('sp0032', '9')} sid_dev/{spk}/{VOICES.format(spk, take)}.wav {label}\n")
    tone(dev / f"sid_dev/sp0032/{VOICES.format('sp0032', '9')}.wav", 0.2)
    tone(root / f"Development_Data/Automatic_Speech_Recognition/asr_dev/{VOICES.format('sp0032', '9')}.wav", 0.4)
    (dev / "sid_dev_lists_and_keys").mkdir()
    (dev / "sid_dev_lists_and_keys/dev-trial-keys.lst").write_text("".join(lines))
    for name in ("kz01", "kz02", "kz03"):
        tone(root / f"Speaker_Recognition/sid_eval/{name}.wav", 0.2)
    tone(root / "Automatic_Speech_Recognition/asr_eval/kz01.wav", 0.4)
    key = root / "VOiCES_challenge_2019_post-eval-release/VOiCES_challenge_2019_eval.SID.trial-keys.lst"
    key.parent.mkdir()
    key.write_text("kz01 kz02.wav tgt\nkz01 kz03.wav imp\n")
    return root


def made(out, name):
    """utt -> spk and the trials, once the data directory is found to hold together."""
    data = read_data_dir(out / name)
    cuts = {cut.id: cut for cut in load_cuts(out / name)}
    assert list(cuts) == [u.utt for u in data.utterances]
    for u in data.utterances:
        assert len(read_audio(u.wav)) == cuts[u.utt].recording.num_samples == round(16000 * u.duration)
    trials = (out / "trials" / name).read_text().splitlines()
    assert {utt for line in trials for utt in line.split()[:2]} == set(data.utt2spk)  # what is needed, and no more
    return data.utt2spk, trials


def test_verb_on_voxsrc22(voxsrc22, vox1, tmp_path, verb):
    done = verb("prepare-eval-set", "--vox1", vox1, "voxsrc22", voxsrc22, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "voxsrc2022_dev_fixed.txt: 2 trials, where voxsrc22 is known to have 306432" in done.stderr
    assert "2 trials, 1 target" in done.stderr
    assert made(tmp_path / "data", "voxsrc22") == (
        {
            "VoxSRC2022_dev-dev_00000": "VoxSRC2022_dev-dev_00000",
            "VoxSRC2022_dev-dev_00001": "VoxSRC2022_dev-dev_00001",
            "id10270-5r0dWxy17C8-00001": "id10270",
            "id10270-x6uYqmx31kE-00002": "id10270",
        },
        [
            "id10270-5r0dWxy17C8-00001 id10270-x6uYqmx31kE-00002 target",
            "VoxSRC2022_dev-dev_00000 VoxSRC2022_dev-dev_00001 nontarget",
        ],
    )


@pytest.mark.parametrize("inside", [False, True])
def test_voxsrc23(voxsrc23, tmp_path, inside):
    """ROOT may be the folder of the audio itself, with the list named."""
    root = voxsrc23 / "VoxSRC2023_val" if inside else voxsrc23
    trials = voxsrc23 / "VoxSRC2023_val.txt" if inside else None
    prepare_eval_set("voxsrc23", root, tmp_path / "data", trials=trials)
    utt2spk, lines = made(tmp_path / "data", "voxsrc23")
    assert utt2spk == {"a1": "a1", "a2": "a2", "b1": "b1"}
    assert lines == ["a1 a2 target", "a1 b1 nontarget"]


def test_vcmix(vcmix, vox1, tmp_path):
    prepare_eval_set("vcmix", vcmix, tmp_path / "data", vox1=vox1)
    utt2spk, lines = made(tmp_path / "data", "vcmix")
    assert utt2spk["aepyx-00001"] == "aepyx-00001" and utt2spk["id10270-x6uYqmx31kE-00002"] == "id10270"
    assert lines[0] == "aepyx-00001 bxcfq-00001 nontarget"


def test_vox1_below_the_root_needs_no_option_and_links_are_no_doubles(vcmix, vox1, tmp_path):
    """A folder of links to both corpora, as SEED's code lays them out, with VoxCeleb1 given once more."""
    (vcmix / "id10270").symlink_to(vox1 / "test/wav/id10270")
    for place, option in (("data", None), ("again", vox1)):
        data = prepare_eval_set("vcmix", vcmix, tmp_path / place, vox1=option)
        assert {u.utt: u.wav for u in data.utterances}["id10270-5r0dWxy17C8-00001"].startswith(str(vcmix))
    (vcmix / "link").symlink_to(vcmix / "aepyx")
    (vcmix / "copy").mkdir()
    (vcmix / "copy/aepyx").symlink_to(vcmix / "aepyx")  # the same file by another path
    prepare_eval_set("vcmix", vcmix, tmp_path / "links")


def test_voices_dev_tells_speakers(voices, tmp_path):
    prepare_eval_set("voices_dev", voices, tmp_path / "data")
    utt2spk, lines = made(tmp_path / "data", "voices_dev")
    enroll, target, other = (
        f"{spk}-{VOICES.format(spk, take)}" for spk, take in (("sp0032", "9"), ("sp0032", "1"), ("sp0083", "2"))
    )
    assert utt2spk == {enroll: "sp0032", target: "sp0032", other: "sp0083"}
    assert lines == [f"{enroll} {target} target", f"{enroll} {other} nontarget"]


def test_verb_on_voices_eval(voices, tmp_path):
    done = CliRunner().invoke(
        svtk, ["prepare-eval-set", "--num-threads", "1", "voices_eval", str(voices), str(tmp_path / "data")]
    )
    assert done.exit_code == 0, done.output
    utt2spk, lines = made(tmp_path / "data", "voices_eval")
    assert utt2spk == {"kz01": "kz01", "kz02": "kz02", "kz03": "kz03"}
    assert lines == ["kz01 kz02 target", "kz01 kz03 nontarget"]
    assert "/sid_eval/" in read_data_dir(tmp_path / "data/voices_eval").utterances[0].wav


def test_other_rates_are_converted(voxsrc23, tmp_path, tone):
    tone(voxsrc23 / "VoxSRC2023_val/b1.wav", 0.25, rate=8000, channels=2)
    data = prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data")
    (converted,) = [u for u in data.utterances if u.utt == "b1"]
    assert converted.wav == str(tmp_path / "data/voxsrc23/wav/b1/b1.flac") and len(read_audio(converted.wav)) == 4000


def test_another_number_of_trials_is_a_warning(voxsrc23, tmp_path, caplog, monkeypatch):
    assert {name: spec.num_trials for name, spec in EVAL_SETS.items()} == {
        "voxsrc22": 306_432,
        "voxsrc23": 49_987,
        "vcmix": 140_734 + 18_802,
        "voices_dev": 20_224 + 4_018_432,
        "voices_eval": 36_443 + 357_073,
    }
    for length, warned in ((3, True), (2, False)):
        monkeypatch.setitem(EVAL_SETS, "voxsrc23", dataclasses.replace(EVAL_SETS["voxsrc23"], num_trials=length))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data")
        assert ("2 trials, where voxsrc23 is known to have 3" in caplog.text) == warned


def test_the_verb_knows_every_set():
    assert tuple(EVAL_SETS) == verb_module._NAMES
    assert CliRunner().invoke(svtk, ["prepare-eval-set", "voxsrc19", ".", "data"]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "voxsrc23",
            "2 a1.wav a2.wav",
            r"list:2: malformed trial; found '2 a1\.wav a2\.wav'; expected '1|0 ENROLL TEST'",
        ),
        ("voxsrc23", "1 a1.wav", r"list:2: malformed trial"),
        ("voxsrc23", "1 a1.wav a2.wav 0.5", r"list:2: malformed trial"),
        ("voices_eval", "kz01 kz02.wav target", r"list:2: malformed trial; .* expected 'ENROLL TEST tgt\|imp'"),
        ("voices_eval", "kz01 kz02.wav", r"list:2: malformed trial"),
        ("voices_eval", "kz01 kz02.wav tgt 1", r"list:2: malformed trial"),
        ("voices_dev", "", r"list:2: malformed trial"),
    ],
)
def test_bad_lines_are_named(name, line, message, tmp_path):
    good = "kz01 kz02.wav tgt" if name.startswith("voices") else "1 a1.wav a2.wav"
    (tmp_path / "list").write_text(f"{good}\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_list(name, tmp_path / "list")


def test_lists_without_trials_or_labels(tmp_path):
    (tmp_path / "list").write_text("")
    for name in ("vcmix", "voices_dev"):
        with pytest.raises(DataError, match="the trial list is empty"):
            read_list(name, tmp_path / "list")
    (tmp_path / "list").write_text("a1.wav a2.wav\n")  # the challenge's test trials
    with pytest.raises(DataError, match="list:1: trials without labels"):
        read_list("voxsrc23", tmp_path / "list")


def test_missing_files_are_counted_and_named_before_any_work(vcmix, voices, vox1, tmp_path, verb):
    with pytest.raises(DataError, match=r"2 of the 4 files .* no id10270/5r0dWxy17C8/00001\.wav, .*--vox1 DIR"):
        prepare_eval_set("vcmix", vcmix, tmp_path / "data")
    shutil.rmtree(vcmix / "aepyx")
    shutil.rmtree(vcmix / "bxcfq")
    with pytest.raises(
        DataError, match=r"vcmix_test\.txt: 2 of the 4 .* no aepyx/00001\.wav, bxcfq/00001\.wav; .*ROOT"
    ):
        prepare_eval_set("vcmix", vcmix, tmp_path / "data", vox1=vox1)
    shutil.rmtree(voices / "Speaker_Recognition/sid_eval")  # the recordings for speech recognition do not stand in
    done = verb("prepare-eval-set", "--skip-bad", "voices_eval", voices, tmp_path / "data")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "3 of the 3 files" in line and "expected sid_eval/*.wav below ROOT" in line
    assert not (tmp_path / "data").exists()


def test_skip_bad_leaves_out_the_trials_too(voxsrc23, tmp_path, caplog):
    (voxsrc23 / "VoxSRC2023_val/b1.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"b1\.wav: cannot read audio"):
        prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data")
    assert not (tmp_path / "data/trials").exists()
    list_path = voxsrc23 / "VoxSRC2023_val.txt"
    list_path.write_text(list_path.read_text() + "0 c1.wav a2.wav\n")
    with caplog.at_level(logging.WARNING):
        prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data", skip_bad=True)
    assert made(tmp_path / "data", "voxsrc23")[1] == ["a1 a2 target"]
    assert "left out 1 of 4 files, which are not there" in caplog.text
    assert "left out 2 of 3 trials" in caplog.text
    list_path.write_text("0 c1.wav a2.wav\n")
    with pytest.raises(DataError, match="no trial is left"):
        prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "none", skip_bad=True)
    assert not (tmp_path / "none/voxsrc23/wav.scp").exists()


def test_two_files_of_one_name(voxsrc23, tmp_path, tone):
    tone(voxsrc23 / "elsewhere/a1.wav", 0.3)
    with pytest.raises(DataError, match=r"two files go by the name 'a1'; found .*a1\.wav as well"):
        prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data")


def test_missing_list(voxsrc23, tmp_path):
    (voxsrc23 / "VoxSRC2023_val.txt").rename(voxsrc23 / "mine.txt")
    with pytest.raises(DataError, match=r"expected VoxSRC2023_val\.txt or VoxSRC2023_Track12_val\.txt.*--trials FILE"):
        prepare_eval_set("voxsrc23", voxsrc23, tmp_path / "data")
