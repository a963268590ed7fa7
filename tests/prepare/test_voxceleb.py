"""A corpus of seconds in VoxCeleb's layouts; sizes of the real lists by lists of that length."""

from __future__ import annotations

import shutil

import pytest

from svtk.data.audio import read_audio
from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import read_data_dir, read_map
from svtk.kaldi.trials import read_trials
from svtk.prepare.voxceleb import TRIAL_LISTS, official_trials, prepare_voxceleb

TRIALS = """\
1 id10270/5r0dWxy17C8/00001.wav id10270/x6uYqmx31kE/00002.wav
0 id10270/5r0dWxy17C8/00001.wav id10300/-cg2x0rOpLk/00001.wav
"""
ALL_TRIALS = TRIALS + "0 id10001/1zcIwhmdeo4/00001.wav id10270/x6uYqmx31kE/00002.wav\n"


@pytest.fixture
def vox1(tmp_path, tone):
    """Dev and test side by side, as the archives unpack."""
    root = tmp_path / "voxceleb1"
    tone(root / "dev/wav/id10001/1zcIwhmdeo4/00001.wav", 0.5)
    tone(root / "test/wav/id10270/5r0dWxy17C8/00001.wav", 0.6)
    tone(root / "test/wav/id10270/x6uYqmx31kE/00002.wav", 0.7)
    tone(root / "test/wav/id10300/-cg2x0rOpLk/00001.wav", 0.8)
    (root / "veri_test2.txt").write_text(TRIALS)
    (root / "list_test_all2.txt").write_text(ALL_TRIALS)
    (root / "list_test_hard2.txt").write_text(ALL_TRIALS)
    (root / "vox1_meta.csv").write_text(
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
        "id10001\tA.J._Buckley\tm\tIreland\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\nid10300\tEwan\tm\tUK\ttest\n"
    )
    return root


@pytest.fixture
def vox2(tmp_path, m4a):
    root = tmp_path / "voxceleb2"
    m4a(root / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a", 0.5)
    m4a(root / "dev/aac/id00012/21Uxsk56VDQ/00002.m4a", 0.6)
    m4a(root / "dev/aac/id00015/0fijmz4vTVU/00001.m4a", 0.5)
    m4a(root / "test/aac/id00017/01dfn2spqyE/00001.m4a", 0.5)
    (root / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n"
        "id00012 ,n000012 ,m ,dev \nid00015 ,n000015 ,f ,dev \nid00017 ,n000017 ,m ,test \n"
    )
    return root


def test_verb_on_both(vox1, vox2, tmp_path, verb):
    out = tmp_path / "data"
    done = verb("prepare-voxceleb", "--vox1", vox1, "--vox2", vox2, "--no-check-counts", out)
    assert done.returncode == 0, done.stderr
    assert "whole corpus has 1251 speakers and 153516 utterances" in done.stderr
    for name, utts in (
        (
            "vox1",
            [
                "id10001-1zcIwhmdeo4-00001",
                "id10270-5r0dWxy17C8-00001",
                "id10270-x6uYqmx31kE-00002",
                "id10300--cg2x0rOpLk-00001",
            ],
        ),
        ("vox2_dev", ["id00012-21Uxsk56VDQ-00001", "id00012-21Uxsk56VDQ-00002", "id00015-0fijmz4vTVU-00001"]),
    ):
        data = read_data_dir(out / name)
        assert [u.utt for u in data.utterances] == utts == [cut.id for cut in load_cuts(out / name)]
        for u, cut in zip(data.utterances, load_cuts(out / name), strict=True):
            assert len(read_audio(u.wav)) == cut.recording.num_samples == round(16000 * u.duration)
            assert u.wav.endswith("-f wav - |") == (name == "vox2_dev")
    assert read_map(out / "vox1/spk2gender") == {"id10001": "m", "id10270": "f", "id10300": "m"}
    assert read_map(out / "vox2_dev/spk2gender") == {"id00012": "m", "id00015": "f"}
    assert (out / "trials/vox1_o").read_text().splitlines() == [
        "id10270-5r0dWxy17C8-00001 id10270-x6uYqmx31kE-00002 target",
        "id10270-5r0dWxy17C8-00001 id10300--cg2x0rOpLk-00001 nontarget",
    ]
    assert len(read_trials(out / "trials/vox1_e")) == len(read_trials(out / "trials/vox1_h")) == 3


def test_merged_wav_folder_and_lists_elsewhere(vox1, tmp_path):
    for part in ("dev", "test"):
        shutil.copytree(vox1 / part / "wav", tmp_path / "merged/wav", dirs_exist_ok=True)
    prepare_voxceleb(tmp_path / "data", vox1=tmp_path / "merged", trials_dir=vox1, check_counts=False)
    assert len(read_data_dir(tmp_path / "data/vox1").utterances) == 4
    assert (tmp_path / "data/vox1/spk2gender").exists()  # from the table beside the lists
    prepare_voxceleb(tmp_path / "bare", vox1=tmp_path / "merged", lists=())
    assert not (tmp_path / "bare/vox1/spk2gender").exists() and not (tmp_path / "bare/trials").exists()


def test_test_speakers_of_voxceleb2_are_known_by_the_table_too(vox2, tmp_path):
    for part in ("dev", "test"):
        shutil.copytree(vox2 / part / "aac", tmp_path / "merged/aac", dirs_exist_ok=True)
    (tmp_path / "merged/vox2_meta.csv").write_text((vox2 / "vox2_meta.csv").read_text())
    written = prepare_voxceleb(tmp_path / "data", vox2=tmp_path / "merged")
    assert {u.spk for u in written["vox2_dev"].utterances} == {"id00012", "id00015"}


def test_wav_beside_aac_is_preferred(vox2, tmp_path, tone):
    path = tone(vox2 / "dev/wav/id00012/21Uxsk56VDQ/00001.wav", 0.5)
    written = prepare_voxceleb(tmp_path / "data", vox2=vox2)
    wavs = {u.utt: u.wav for u in written["vox2_dev"].utterances}
    assert wavs["id00012-21Uxsk56VDQ-00001"] == str(path)
    assert len(wavs) == 3 and wavs["id00012-21Uxsk56VDQ-00002"].startswith("ffmpeg")


@pytest.mark.parametrize(("key", "count"), [("o", 37611), ("e", 579818), ("h", 550894)])
def test_cleaned_lists_are_known_by_their_length(tmp_path, key, count):
    assert TRIAL_LISTS[key][0] == count
    path = tmp_path / TRIAL_LISTS[key][1][0]
    line = TRIALS.splitlines(keepends=True)[0]
    path.write_text(line * count)
    trials = official_trials(path, TRIAL_LISTS[key][0])
    assert len(trials) == count and trials.labels.all() and trials.test[-1] == "id10270-x6uYqmx31kE-00002"
    path.write_text(line * (count + 109))
    with pytest.raises(
        DataError, match=f"not the official list.*found {count + 109} trials; expected {count}.*--no-check-counts"
    ):
        official_trials(path, TRIAL_LISTS[key][0])


def test_original_lists(vox1, tmp_path):
    sizes = {key: count for key, (count, _) in TRIAL_LISTS.items() if key.endswith("_original")}
    assert sizes == {"o_original": 37720, "e_original": 581480, "h_original": 552536}
    (vox1 / "veri_test.txt").write_text(ALL_TRIALS)
    prepare_voxceleb(tmp_path / "data", vox1=vox1, lists=("o", "o_original"), check_counts=False)
    assert [len(read_trials(tmp_path / "data/trials" / name)) for name in ("vox1_o", "vox1_o_original")] == [2, 3]
    with pytest.raises(DataError, match=r"veri_test\.txt: not the official list.*expected 37720"):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, lists=("o_original",))


def test_wrong_count_stops_the_verb_before_any_work(vox1, tmp_path, verb):
    done = verb("prepare-voxceleb", "--vox1", vox1, tmp_path / "data")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert "veri_test2.txt" in line and "found 2 trials; expected 37611" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 id10270/5r0dWxy17C8/00001.wav", r"veri_test2\.txt:3: malformed trial"),
        ("2 id10270/5r0dWxy17C8/00001.wav id10270/x6uYqmx31kE/00002.wav", r"veri_test2\.txt:3: malformed trial"),
        (
            "1 id10270/00001.wav id10270/x6uYqmx31kE/00002.wav",
            r"veri_test2\.txt:3: malformed trial; found 'id10270/00001\.wav'",
        ),
        (
            "1 id10270/5r0dWxy17C8/00009.wav id10270/x6uYqmx31kE/00002.wav",
            r"veri_test2\.txt:3: .*-00009' is not in the corpus",
        ),
    ],
)
def test_bad_trial_lines_are_named(vox1, tmp_path, line, message):
    (vox1 / "veri_test2.txt").write_text(TRIALS + line + "\n")
    with pytest.raises(DataError, match=message):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, check_counts=False)
    assert not (tmp_path / "data").exists()


def test_missing_list_says_where_it_comes_from(vox1, tmp_path, verb):
    (vox1 / "list_test_hard2.txt").unlink()
    done = verb("prepare-voxceleb", "--vox1", vox1, "--no-check-counts", tmp_path / "data")
    assert done.returncode == 1 and "expected list_test_hard2.txt" in done.stderr and "--trials-dir" in done.stderr
    done = verb("prepare-voxceleb", "--vox1", vox1, "--no-check-counts", "--lists", "o,e", tmp_path / "data")
    assert done.returncode == 0 and not (tmp_path / "data/trials/vox1_h").exists()
    assert verb("prepare-voxceleb", "--vox1", vox1, "--lists", "x", tmp_path / "data").returncode == 2


def test_layout_errors(vox1, tmp_path, tone):
    with pytest.raises(DataError, match="nothing to prepare"):
        prepare_voxceleb(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no speakers; expected folders id10001"):
        prepare_voxceleb(tmp_path / "data", vox1=tmp_path / "empty")
    with pytest.raises(DataError, match="'id10001' is not of vox2_dev.*check --vox1 and --vox2"):
        prepare_voxceleb(tmp_path / "data", vox2=vox1)
    path = tone(vox1 / "dev/wav/id10270/5r0dWxy17C8/00001.wav")
    with pytest.raises(DataError, match="utterance 'id10270-5r0dWxy17C8-00001' is there twice"):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, lists=())
    path.unlink()
    stray = tone(vox1 / "dev/wav/id10270/stray.wav")
    with pytest.raises(DataError, match="stray.wav: not where an utterance should be"):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, lists=())
    stray.unlink()
    (vox1 / "vox1_meta.csv").write_text((vox1 / "vox1_meta.csv").read_text() + "id10301\tX\tu\tUK\tdev\n")
    with pytest.raises(DataError, match=r"vox1_meta\.csv:5: malformed speaker"):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, lists=())


def test_bad_audio(vox1, tmp_path):
    path = vox1 / "test/wav/id10270/5r0dWxy17C8/00001.wav"
    path.write_bytes(b"")
    with pytest.raises(AudioError, match="00001.wav: cannot read audio"):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, check_counts=False)
    # left out, it is missing in the trials
    with pytest.raises(
        DataError, match=r"veri_test2\.txt:1: utterance 'id10270-5r0dWxy17C8-00001' is not in the corpus"
    ):
        prepare_voxceleb(tmp_path / "data", vox1=vox1, check_counts=False, skip_bad=True)
    assert not (tmp_path / "data/vox1/wav.scp").exists()
