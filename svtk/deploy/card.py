"""The model card of a MODEL_DIR, README.md as the Hugging Face Hub shows it, from what the directory says of itself."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from svtk.config import load_yaml
from svtk.deploy.describe import describe
from svtk.errors import DataError
from svtk.models.exported import ExportedModel
from svtk.models.speaker_model import SpeakerModel

__all__ = ["model_card"]

log = logging.getLogger(__name__)


def model_card(directory: Path, model: SpeakerModel, *, name: str, license: str | None, has_calibration: bool) -> str:
    """The card's text. What is not known is said to be so or left out; nothing is made up.

    Args:
        directory: MODEL_DIR, as training and the recipe leave it: ``run.yaml``, ``train.json``, ``eval_*/metrics.json``
            and ``provenance.json`` are used where they are there.
        model: what it holds.
        name: what to call it.
        license: an identifier that the hub knows (``apache-2.0``, ``cc-by-4.0`` ...); None: none has been given.
        has_calibration: whether a calibration goes with it.

    Raises:
        DataError: a file of these is damaged.
        ConfigError: ``run.yaml`` is.
    """
    run = load_yaml(directory / "run.yaml") if (directory / "run.yaml").is_file() else None
    results = _results(directory)
    parts = [
        _front_matter(model, name, license, results),
        f"# {name}\n\n{_summary(model)}",
        _use(name, has_calibration),
        _training(run, directory),
        _table(results),
        "## Limits\n\n"
        "Error rates hold for speech like that of the lists above; other languages, channels, noise and lengths have "
        "others. Choose thresholds, or train a calibration, on trials of your own use. A voice that is recorded, "
        "converted or synthesised is not told from a live one.",
        f"## Licence\n\n{license or 'None has been given: ask whoever published this.'}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(mapping, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise DataError(f"damaged: {error}", path=path, mend="make it again, or remove it") from error
    return mapping


def _results(directory: Path) -> dict[str, dict[str, Any]]:
    """Metrics by trial list; those of scores that are older than the weights are of another model."""
    weights, results = directory / "model.safetensors", {}
    for path in sorted(directory.glob("eval_*/metrics.json")):
        if weights.is_file() and path.stat().st_mtime < weights.stat().st_mtime:
            log.warning("%s is older than the model; left out of its card", path)
            continue
        metrics = _json(path)
        if isinstance(metrics.get("eer"), float):
            results[path.parent.name.removeprefix("eval_")] = metrics
    return results


def _front_matter(model: SpeakerModel, name: str, license: str | None, results: dict[str, dict[str, Any]]) -> str:
    config = model.config
    part = config.student if config.kind == "student" else config.teacher
    fields: dict[str, Any] = {
        "license": license or "unknown",
        "library_name": "svtk",
        "tags": ["speaker-verification", "speaker-recognition", "audio", part["name"].replace("_", "-")],
    }
    if config.kind == "teacher" and re.fullmatch(r"[\w.-]+/[\w.-]+", part.get("source", "")):
        fields["base_model"] = part["source"]
    if results:
        fields["model-index"] = [{"name": name, "results": [_indexed(key, value) for key, value in results.items()]}]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _indexed(trials: str, metrics: dict[str, Any]) -> dict[str, Any]:
    found = [{"type": "eer", "name": "EER (%)", "value": round(100 * metrics["eer"], 3)}]
    for cost, value in (metrics.get("min_dcf") or {}).items():
        found.append({"type": "min_dcf", "name": f"minDCF {cost}", "value": round(value, 4)})
    return {
        "task": {"type": "speaker-verification", "name": "Speaker Verification"},
        "dataset": {"type": trials, "name": trials},
        "metrics": found,
    }


def _summary(model: SpeakerModel) -> str:
    config = model.config
    lines = []
    if config.kind == "student":
        student = config.student
        lines.append(
            f"A speaker verification model: `{config.frontend['name']}` frontend, {student['num_layers']} "
            f"`{student['name']}` blocks of width {student['hidden_dim']}, `{config.backend['name']}` backend."
        )
    else:
        lines.append(
            f"A speaker verification model: the pretrained encoder `{config.teacher['source']}` "
            f"(`{config.teacher['name']}`) and a `{config.backend['name']}` backend."
        )
    lines.append(f"Embeddings have {model.embedding_dim} numbers; windows of {config.window:g} s cover a recording.")
    if isinstance(model, ExportedModel):
        lines.append(f"It is exported: ONNX graphs, {model.info.precision}.")
    else:
        size = describe(model, config.window)
        lines.append(
            f"It has {size['parameters'] / 1e6:.3g} M parameters and computes {size['macs'] / 1e9:.3g} G "
            f"multiply-accumulates per window (`svtk describe`)."
        )
    return " ".join(lines)


def _use(name: str, has_calibration: bool) -> str:
    calibrated = (
        "`calibration.json` turns scores into natural log-likelihood ratios: `model.llr(score)`."
        if has_calibration
        else "No calibration goes with it: scores are cosines, for which you choose the threshold."
    )
    return f"""## Use

With svtk installed; the name may be that of the directory that holds this model, or its name on the hub.

```sh
svtk verify {name} a.wav b.wav
```

```python
import svtk

model = svtk.load("{name}")
score = model.score(model.embed("a.wav"), model.embed("b.wav"))
```

{calibrated}"""


def _training(run: dict[str, Any] | None, directory: Path) -> str:
    if run is None:
        return "## Training\n\nHow it was trained is not recorded."
    lines = [f"By `svtk {run.get('verb', '?')}`, seed {run.get('seed', '?')}, of:", ""]
    for name, given in (run.get("inputs") or {}).items():
        path = given.get("path") if isinstance(given, dict) else given
        lines.append(f"- {name.replace('_', ' ')}: `{path}`")
    trained = _json(directory / "train.json")
    if trained is not None:
        said = [
            f"{trained[key]} {unit}" for key, unit in (("epochs", "epochs"), ("seconds", "seconds")) if key in trained
        ]
        if isinstance(trained.get("valid_eer"), float):
            said.append(f"validation EER {100 * trained['valid_eer']:.2f} %")
        lines += ["", ", ".join(said) + "."]
    if (directory / "provenance.json").is_file():
        lines += ["", "Commands, versions and SHA-256 of inputs: `provenance.json`, or `svtk trace` on this directory."]
    return "## Training\n\n" + "\n".join(lines)


def _table(results: dict[str, dict[str, Any]]) -> str:
    if not results:
        return "## Results\n\nNone are recorded."
    costs = list(dict.fromkeys(cost for metrics in results.values() for cost in metrics.get("min_dcf") or {}))
    rows = [["trials", "EER %", *(f"minDCF {cost}" for cost in costs), "target", "nontarget"]]
    rows.append(["---", *["--:"] * (len(rows[0]) - 1)])
    for trials, metrics in results.items():
        eer = f"{100 * metrics['eer']:.2f}"
        interval = (metrics.get("interval") or {}).get("eer")
        if isinstance(interval, list) and len(interval) == 2:
            eer += f" ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"
        dcf = metrics.get("min_dcf") or {}
        numbers = [f"{dcf[cost]:.3f}" if cost in dcf else "-" for cost in costs]
        rows.append(
            [trials, eer, *numbers, *(str(metrics.get(f"num_{kind}s", "-")) for kind in ("target", "nontarget"))]
        )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## Results\n\n{table}\n\n{_measured(list(results.values()))}"


def _measured(results: Sequence[dict[str, Any]]) -> str:
    """How the figures came about, as their records say."""
    level = next((m["confidence"]["level"] for m in results if "confidence" in m), None)
    lines = [] if level is None else [f"In brackets: {100 * level:g} % intervals, by bootstrap of speakers."]
    commands = [shlex.join(m["provenance"]["command"]) for m in results if "command" in (m.get("provenance") or {})]
    if commands:
        lines.append("Measured by:\n\n```sh\n" + "\n".join(dict.fromkeys(commands)) + "\n```")
    return "\n".join(lines)
