"""What cannot be distilled, and the one line that says why."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, ConfigError, DataError
from svtk.extract.targets import extract_targets
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.train.options import TrainOptions


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["studnet.num_layers=3"], "unknown key 'studnet'. To mend: did you mean 'student'?"),
        (["student.layers=3"], "unknown key 'student.layers'. To mend: did you mean 'num_layers'?"),
        (["student.name=sv_mixr"], "no component 'sv_mixr' in students. To mend: did you mean 'sv_mixer'?"),
        (["kd_losses.0.name=hidden_mae"], "no component 'hidden_mae' in losses. To mend: did you mean 'hidden_mse'?"),
        (["kd_losses.0.weight=much"], "wrong value for 'kd_losses.0.weight'; found 'much'; expected a number"),
        (["kd_losses.0.weight=-1"], "found -1; expected a number, not negative"),
        (["kd_losses.0.weight=.nan"], "found nan; expected a number, not negative"),
        (["kd_losses.0.weight=0", "sv_weight=0"], "nothing to learn: sv_weight and all weights of kd_losses are 0"),
        (["sv_weight=-1"], "sv_weight must not be negative"),
        (
            ["kd_losses=[{name: distilhubert, teacher_layers: [8]}]"],
            "'teacher_layers'; found 8; expected -3 ... 2",
        ),
        (["kd_losses.0.teacher_layer=9"], "no such layer in 'teacher_layer'; found 9; expected -3 ... 2"),
        (["kd_losses.0.student_layer=3"], "no such layer in 'student_layer'; found 3; expected -3 ... 2"),
        (["sv_loss={name: hidden_mse}"], "'hidden_mse' of losses does not serve here"),
        (["kd_losses=[{name: aam_softmax}]"], "'aam_softmax' of losses does not serve here"),
        (["kd_losses=[]", "sv_weight=0"], "nothing to learn"),
        (["crop_duration=0.03"], "the window is too short"),
        (["crop_grid=300"], "crop_grid must be a multiple of 320 samples, one frame"),
        (["augment.probability=1"], "unknown key 'augment.probability'. To mend: did you mean 'prob'?"),
        (["batch_size=0"], "batch_size must be positive"),
        (["lr_factor=0"], "lr_factor must lie in (0, 1]"),
        (["warmup_epochs=-1"], "warmup_epochs must not be negative"),
        (["stop_patience=0"], "stop_patience must be at least 1"),
    ],
)
def test_wrong_configurations(distil, tmp_path, overrides, message):
    with pytest.raises(ConfigError) as raised:
        distil(tmp_path / "m", *overrides)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "m/model.safetensors").exists()


def test_no_source_of_teacher_states(distil, tmp_path):
    with pytest.raises(ConfigError, match="distillation needs --teacher, --targets or both. To mend: give one, or set"):
        distil(tmp_path / "m", teacher=None)


def test_targets_that_do_not_fit(distil, tmp_path, wavlm_dir, corpus):
    extract_targets(wavlm_dir, corpus.train, tmp_path / "t", layers="1", min_duration=0.6)
    with pytest.raises(ConfigError, match=r"other crops; found min_duration 0\.6; expected crop_duration 0\.5.*0\.5"):
        distil(tmp_path / "m", "kd_losses.0.teacher_layer=1", targets=str(tmp_path / "t"))
    extract_targets(wavlm_dir, corpus.train, tmp_path / "u", layers="1", min_duration=0.5)
    message = (
        r"no teacher targets of layer\(s\) 2, which kd_losses need; found layers \[1\]. .* --layers 1,2 into another"
    )
    with pytest.raises(ConfigError, match=message):
        distil(tmp_path / "m", targets=str(tmp_path / "u"))
    extract_targets(wavlm_dir, corpus.valid, tmp_path / "v", min_duration=0.5)
    with pytest.raises(DataError, match=r"16 utterance\(s\) have no teacher target, first 's0-0'"):
        distil(tmp_path / "m", targets=str(tmp_path / "v"))
    with pytest.raises(DataError, match="no readable targets.json"):
        distil(tmp_path / "m", targets=str(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_file_in_the_middle(distil, tmp_path, corpus, num_workers):
    bad = tmp_path / "bad.wav"
    utterances = read_data_dir(corpus.train).utterances
    shutil.copy(utterances[5].wav, bad)
    utterances[5] = dataclasses.replace(utterances[5], wav=str(bad))
    data = str(write_data_dir(tmp_path / "data", utterances).path)
    load_cuts(data)
    bad.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=rf"^{bad}: cannot read audio of [^;]+; found [^\n]+$") as raised:
        distil(tmp_path / "m", f"num_workers={num_workers}", train_dir=data)
    assert "Traceback" not in str(raised.value)


def test_the_papers_protocol_is_the_default():
    options = TrainOptions()
    assert (options.crop_duration, options.crop_grid, options.batch_size) == (3.0, 320, 128)
    assert (options.lr, options.weight_decay, options.schedule) == (2e-4, 2e-5, "plateau")
    assert (options.lr_factor, options.lr_patience, options.stop_patience) == (0.5, 5, 10)
