"""An experiment directory of three systems, with made-up scores, as the recipe leaves one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
from safetensors.numpy import save_file

from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.kaldi.trials import Scores, Trials, write_scores, write_trials

SYSTEMS = {"teacher": 4.0, "sv_mixer": 3.0, "transformer": 2.2}  # distance between the classes, in deviations


def small_experiment(root: Path) -> SimpleNamespace:
    """Make it: ``exp``, ``data`` (a data directory) and ``trials`` (a directory of the list ``test``)."""
    rng = np.random.default_rng(31)
    utterances = []
    for spk in range(12):
        for number in range(4):
            utt = f"s{spk:02}-{number}"
            wav = root / "wav files" / f"{utt}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            seconds = 0.5 + 0.5 * number
            soundfile.write(wav, 0.01 * rng.standard_normal(round(16_000 * seconds)), 16_000)
            gender = "fm"[spk % 2]
            utterances.append(Utterance(utt, f"s{spk:02}", str(wav), utt, duration=seconds, gender=gender))
    write_data_dir(root / "data", utterances)
    pairs = [(a, b) for i, a in enumerate(utterances) for b in utterances[i + 1 :]]
    labels = np.array([a.spk == b.spk for a, b in pairs])
    enroll, test = [a.utt for a, _ in pairs], [b.utt for _, b in pairs]
    (root / "trials").mkdir()
    write_trials(root / "trials" / "test", Trials(enroll, test, labels))
    for number, (name, distance) in enumerate(SYSTEMS.items()):
        system = root / "exp" / name
        for variant in ("", "_as_norm"):
            directory = system / f"eval_test{variant}"
            directory.mkdir(parents=True)
            scores = rng.standard_normal(len(labels)) + distance * labels
            write_scores(directory / "scores", Scores(enroll, test, scores))
            llrs = distance * scores - distance**2 / 2 - 0.3
            write_scores(directory / "llrs", Scores(enroll, test, llrs))
        size = {"parameters": 10**6 * (3 - number), "macs": 10**9 * (3 - number), "duration": 3.0}
        (system / "size.json").write_text(json.dumps(size))
        history = [
            {"epoch": e, "loss": 5 / e, "lr": 0.1, **({"eer": 0.3 / e} if e % 2 == 0 else {})} for e in (1, 2, 3, 4)
        ]
        (system / "train.json").write_text(json.dumps({"seconds": 12.3, "history": history}))
        save_file({"backend.layer_sum.logits": np.array([0.0, 0.5, 1.0], np.float32)}, system / "model.safetensors")
    results = [
        {"model": "sv_mixer", "engine": "onnx", "precision": "int8", "batch": 1, "threads": 1, "rtf": 0.002},
        {"model": "sv_mixer", "engine": "eager", "precision": "float32", "batch": 1, "threads": 1, "rtf": 0.0123},
    ]
    (root / "exp" / "sv_mixer" / "benchmark.json").write_text(json.dumps({"results": results}))
    return SimpleNamespace(exp=root / "exp", data=root / "data", trials=root / "trials", labels=labels)
