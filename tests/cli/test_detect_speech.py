import subprocess
import sys

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from svtk.cli.main import svtk
from svtk.data.speech_activity import EnergyOptions, VadOptions, kaldi_decision, log_energy
from svtk.errors import ConfigError
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir
from svtk.kaldi.tables import read_table


@pytest.fixture
def data(tmp_path):
    """Two utterances: a pause, speech, a pause."""
    rng = np.random.default_rng(1)
    utterances = []
    for name in ("a-1", "b-1"):
        level = np.repeat([0.001, 0.1, 0.001], [8000, 16_000, 9600])
        soundfile.write(tmp_path / f"{name}.wav", level * rng.standard_normal(33_600), 16_000)
        utterances.append(Utterance(name, name[0], str(tmp_path / f"{name}.wav"), name))
    return write_data_dir(tmp_path / "data", utterances).path


def invoke(*words):
    return CliRunner().invoke(svtk, [str(word) for word in words])


def test_as_a_user_runs_it(data, tmp_path):
    ark, scp = tmp_path / "vad.ark", data / "vad.scp"
    command = [sys.executable, "-m", "svtk", "detect-speech", "--segments", tmp_path / "segmented", data]
    done = subprocess.run([*command, f"ark,scp:{ark},{scp}"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stderr
    found = dict(read_table(f"scp:{scp}"))
    assert [(len(row), 0.46 < row.mean() < 0.5) for row in found.values()] == [(210, True)] * 2
    names = [u.utt for u in read_data_dir(tmp_path / "segmented").utterances]
    assert [name[:3] for name in names] == ["a-1", "b-1"] and (tmp_path / "segmented" / "cuts.jsonl.gz").exists()


def test_segment_data(data, tmp_path):
    scp = data / "vad.scp"
    assert invoke("detect-speech", data, f"ark,scp:{tmp_path}/vad.ark,{scp}").exit_code == 0
    assert invoke("segment-data", data, f"scp:{scp}", tmp_path / "segmented").exit_code == 0
    assert len(read_data_dir(tmp_path / "segmented").utterances) == 2


def test_an_utterance_of_no_frame_stands_in_no_ones_way(data, tmp_path, caplog):
    soundfile.write(tmp_path / "c.wav", np.zeros(60), 16_000)
    utterances = [*read_data_dir(data).utterances, Utterance("c-1", "c", str(tmp_path / "c.wav"), "c-1")]
    whole = write_data_dir(tmp_path / "whole", utterances).path
    decisions = f"{tmp_path}/vad.scp"
    found = invoke("detect-speech", whole, f"ark,scp:{tmp_path}/vad.ark,{decisions}")
    assert found.exit_code == 0 and "c-1: no frame in it, left out" in caplog.text
    assert invoke("segment-data", whole, f"scp:{decisions}", tmp_path / "segmented").exit_code == 0
    assert len(read_data_dir(tmp_path / "segmented").utterances) == 2


def energies(data):
    wav, _ = soundfile.read(read_data_dir(data).utterances[0].wav, dtype="float32")
    return log_energy(wav, EnergyOptions())


def test_kaldis_options_mean_kaldis_decision(data, tmp_path):
    found = invoke("detect-speech", "--vad-energy-threshold=9", "--vad-frames-context", 2, data, "ark,t:-")
    assert found.exit_code == 0
    row = np.array(found.stdout.splitlines()[0].split("[")[1].strip(" ]").split(), np.float32)
    expected = kaldi_decision(energies(data), VadOptions(energy_threshold=9.0, frames_context=2))
    np.testing.assert_array_equal(row, expected)


def test_the_command_line_lies_above_kaldis_configuration(data, tmp_path):
    (tmp_path / "vad.conf").write_text("--vad-energy-threshold=9\n--vad-frames-context=5\n")
    invoke("detect-speech", "--config", tmp_path / "vad.conf", "--vad-frames-context=2", data, f"ark:{tmp_path}/v.ark")
    expected = kaldi_decision(energies(data), VadOptions(energy_threshold=9.0, frames_context=2))
    np.testing.assert_array_equal(dict(read_table(f"ark:{tmp_path}/v.ark"))["a-1"], expected)


def test_minimum_durations(data, tmp_path):
    options = ("--min-speech", 1.5, "--min-silence", 0.1, "--to-speech-cost", 0, "--to-silence-cost", 0)
    assert invoke("detect-speech", *options, data, f"ark:{tmp_path}/v.ark").exit_code == 0
    row = dict(read_table(f"ark:{tmp_path}/v.ark"))["a-1"]
    assert row.sum() >= 150  # there is but one second


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--detector", "energy", "--vad-frames-context", "2", "{data}", "ark:-"), "goes with --detector kaldi"),
        (("--segments", "{out}", "ark:feats.ark", "ark,scp:a,b"), "--segments needs a data directory"),
        (("--segments", "{out}", "{data}", "ark:v.ark"), "--segments needs a script file"),
        (("--engine", "magic", "{data}", "ark:-"), "'magic' is not one of"),
        (("--snip-edges", "perhaps", "{data}", "ark:-"), "--snip-edges"),
    ],
)
def test_wrong_usage(data, tmp_path, words, message):
    result = invoke("detect-speech", *(word.format(data=data, out=tmp_path / "out") for word in words))
    assert result.exit_code == 2 and message in result.output


def test_an_option_that_kaldi_refuses(data):
    result = invoke("detect-speech", "--vad-proportion-threshold", 1.0, data, "ark:-")
    assert isinstance(result.exception, ConfigError) and "proportion_threshold" in str(result.exception)
