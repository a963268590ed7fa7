"""egs/voxceleb/run.sh on folders and on VoxCeleb's layout: what its first stages make of them."""

from __future__ import annotations

import shutil

import pytest

from run_sh import command, commands, run, run_stage, start
from svtk.kaldi.datadir import read_data_dir
from svtk.kaldi.trials import read_trials
from svtk.prepare.demo_corpus import make_demo_corpus

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """A folder with two utterances of each of 4 speakers to train on and of 2 to test on."""
    root = tmp_path_factory.mktemp("audio") / "corpus"
    make_demo_corpus(root, num_spks=6, num_test_spks=2, utts_per_spk=2, seed=1)
    return root


class TestOtherCorpora:
    def test_a_folder_with_noise_beside_it(self, audio, tmp_path):
        root = tmp_path / "corpora/mine"
        root.mkdir(parents=True)
        for source, to in (("train", root), ("test", root), ("noise", root.parent), ("rirs", root.parent)):
            shutil.copytree(audio / source, to / source)
        words = command(tmp_path, "--corpus-dir", "corpora/mine", "--stop-stage", "3", corpus="folder")
        process = start(words, cwd=tmp_path)  # paths are the caller's
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert len(read_data_dir(tmp_path / "data/train").utterances) == 4
        assert len(read_data_dir(tmp_path / "data/test").utterances) == 4
        assert "no same-sex trials" in stderr and not (tmp_path / "data/trials/test_same_sex").exists()
        assert read_data_dir(tmp_path / "data/noise/rirs").utterances

    def test_a_folder_without_noise(self, audio, tmp_path):
        shutil.copytree(audio / "train", tmp_path / "mine/train")
        shutil.copytree(audio / "test", tmp_path / "mine/test")
        _, stderr = run_stage(tmp_path, 2, "--corpus-dir", str(tmp_path / "mine"), corpus="folder")
        assert "trained without them" in stderr and commands(stderr) == []

    def test_voxceleb(self, audio, tmp_path):
        """In VoxCeleb's layout and with short lists; speakers are held out of VoxCeleb2 for validation."""
        for number, folder in enumerate(sorted((audio / "train").iterdir())):
            shutil.copytree(folder, tmp_path / f"vox2/dev/wav/id{number:05}/video")
        names = []
        for number, folder in enumerate(sorted((audio / "test").iterdir())):
            shutil.copytree(folder, tmp_path / f"vox1/test/wav/id1{number:04}/video")
            names.append(sorted(path.name for path in folder.iterdir()))
        trials = [
            *(f"1 id1000{i}/video/{names[i][0]} id1000{i}/video/{names[i][1]}" for i in (0, 1)),
            f"0 id10000/video/{names[0][0]} id10001/video/{names[1][0]}",
        ]
        (tmp_path / "lists").mkdir()
        for name in ("veri_test2.txt", "list_test_all2.txt", "list_test_hard2.txt"):
            (tmp_path / "lists" / name).write_text("\n".join(trials) + "\n")
        places = [f"--vox1={tmp_path}/vox1", f"--vox2={tmp_path}/vox2", f"--trials-dir={tmp_path}/lists"]
        small = ["--corpus-opts=--no-check-counts", "--num-valid-trials", "4"]
        status, _, stderr = run(tmp_path, *places, *small, "--stop-stage", "2", corpus="voxceleb")
        assert status == 0, stderr
        train, valid = (set(read_data_dir(tmp_path / "data" / name).utt2spk.values()) for name in ("train", "valid"))
        assert len(train) == len(valid) == 2 and not train & valid
        assert read_trials(tmp_path / "data/trials/valid").labels.any()
        assert len(read_trials(tmp_path / "data/trials/vox1_h")) == 3
        _, stderr = run_stage(tmp_path, 1, corpus="voxceleb")
        assert commands(stderr) == []
