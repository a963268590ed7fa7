"""What all tests share: no test reaches a model hub, and hypothesis may look at every imported module."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from types import SimpleNamespace

import pytest

import svtk  # noqa: F401  (its torchaudio stand-in must be there before a test imports SpeechBrain)

pytest.register_assert_rewrite("data_dirs", "table_files")  # of tests/helpers
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models of a few thousand weights gain nothing from more


def _lazy_modules_have_no_file() -> None:
    """hypothesis asks every module for its ``__file__``; SpeechBrain's lazy ones would import k2 and more for that."""
    importutils = sys.modules.get("speechbrain.utils.importutils")
    if importutils is not None:
        importutils.LazyModule.__file__ = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    _lazy_modules_have_no_file()
    result = yield
    items.sort(key=lambda item: "recipe" not in item.keywords)  # minutes, and one process waits for all others
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _lazy_modules_have_no_file()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A corpus of seconds: ``train`` and ``valid`` (data directories), ``trials`` over valid, and ``noise``.

    A speaker is a pitch and a spectral tilt; train has 4 of them with 0.3, 0.5, 0.9 and 1.337 s each.
    """
    import numpy as np
    import soundfile

    from svtk.kaldi.datadir import Utterance, write_data_dir

    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(9)

    def speech(spk: int, seconds: float):
        time = np.arange(round(16_000 * seconds)) / 16_000
        pitch = (100 + 40 * spk) * (1 + 0.02 * rng.standard_normal()) * time
        tones = (np.sin(2 * np.pi * (k * pitch + rng.random())) / k ** (0.5 + 0.25 * spk) for k in range(1, 12))
        return 0.1 * sum(tones) + 0.01 * rng.standard_normal(len(time))

    def data_dir(name: str, audio: dict):
        utterances = []
        for utt, samples in audio.items():
            wav = root / "wav" / name / f"{utt}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, samples, 16_000)
            spk = utt.split("-")[0]
            utterances.append(Utterance(utt, spk, str(wav), utt, duration=len(samples) / 16_000, gender="f"))
        return str(write_data_dir(root / name, utterances).path)

    lengths = (0.3, 0.5, 0.9, 1.337)
    train = data_dir("train", {f"s{s}-{i}": speech(s, x) for s in range(4) for i, x in enumerate(lengths)})
    valid = data_dir(
        "valid", {f"v{s}-{i}": speech(s + 0.5, x) for s in range(3) for i, x in enumerate((0.4, 0.8, 1.1))}
    )
    utts = [f"v{s}-{i}" for s in range(3) for i in range(3)]
    pairs = [(a, b) for n, a in enumerate(utts) for b in utts[n + 1 :]]
    lines = (f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs)
    (root / "trials").write_text("".join(lines))
    decay = np.exp(-np.arange(2000) / 300) * rng.standard_normal(2000) * 0.1
    decay[:100], decay[100] = 0.001, 0.9  # the direct sound comes 100 samples in
    data_dir("noise/noise", {"hiss": 0.1 * rng.standard_normal(20_000), "short": 0.05 * rng.standard_normal(3000)})
    data_dir("noise/music", {"song": 0.1 * np.sin(np.arange(40_000) * 0.05)})
    data_dir("noise/speech", {"x-1": speech(5, 1.0), "y-1": speech(6, 0.6)})
    data_dir("noise/rirs", {"room": decay})
    return SimpleNamespace(train=train, valid=valid, trials=str(root / "trials"), noise=str(root / "noise"))


@pytest.fixture(scope="session")
def wavlm_dir(tmp_path_factory):
    """A WavLM of 3 hidden states of width 12 with random weights, as Hugging Face saves one."""
    import torch

    from svtk.teachers import wavlm

    torch.manual_seed(20)
    directory = str(tmp_path_factory.mktemp("wavlm"))
    new = wavlm.NewModel(hidden_dim=12, num_layers=2, num_heads=2, ffn_dim=16, conv_channels=6)
    wavlm.create(new).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def student_dir(tmp_path_factory):
    """The MODEL_DIR of an untrained student: windows of 0.5 s, 24 frames, embeddings of 6."""
    import torch

    from svtk.models.speaker_model import StudentSpec, build_model, save_model

    torch.manual_seed(21)
    spec = StudentSpec(
        crop_duration=0.5,
        frontend={"name": "waveform_conv", "channels": 6},
        student={"name": "sv_mixer", "num_layers": 1, "hidden_dim": 8, "group_dim": 4, "expansion": 2},
        backend={"name": "linear", "embedding_dim": 6},
    )
    directory = tmp_path_factory.mktemp("student")
    save_model(build_model(spec.model_config()), directory)
    return str(directory)


@pytest.fixture
def svtk_main(monkeypatch):
    """Run ``svtk VERB ARG...`` in this process; gives code, stdout and stderr (without the log)."""
    from svtk.cli.main import main

    def run(*args):
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with monkeypatch.context() as patch:
            for name, value in (("argv", ["svtk", *map(str, args)]), ("stdout", stdout), ("stderr", stderr)):
                patch.setattr(sys, name, value)
            with pytest.raises(SystemExit) as raised:
                main()
        stdout.flush()
        return SimpleNamespace(
            code=raised.value.code, stdout=stdout.buffer.getvalue().decode("utf-8", "replace"), stderr=stderr.getvalue()
        )

    return run


@pytest.fixture
def killed():
    """Run a function in a child process that must end by SIGKILL."""

    def run(work):
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    return run
