"""A model as a directory that travels: what ``svtk.load`` needs and no more, with a model card, as a hub takes it."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from svtk.config import save_yaml
from svtk.deploy.card import model_card
from svtk.errors import DataError, ModelError
from svtk.models.exported import is_exported, open_embedder
from svtk.models.hub import TRAVELS
from svtk.models.speaker_model import SpeakerModel
from svtk.provenance import read_record, record_path, stamp
from svtk.score.calibration_files import read_calibration

__all__ = ["pack"]

log = logging.getLogger(__name__)


def pack(
    model_dir: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    name: str | None = None,
    license: str | None = None,
    calibration: str | os.PathLike | None = None,
    keep_source: bool = False,
) -> None:
    """Write OUT_DIR: config, weights, calibration, provenance, and ``README.md``, the model card.

    A teacher whose encoder lies elsewhere gets a copy of it, ``encoder/``.

    Args:
        model_dir: MODEL_DIR, or what ``svtk export`` made of one.
        out_dir: it must not hold anything yet; appears when it is whole.
        name: what the card calls the model, best its name on the hub [that of OUT_DIR].
        license: an identifier that the hub knows.
        calibration: what ``svtk calibrate`` trained on the model's cosine scores [``calibration.json`` in MODEL_DIR,
            else ``valid/calibration``, where the recipe leaves it].
        keep_source: let a teacher refer to where its encoder is.

    Raises:
        ModelError: MODEL_DIR holds no model, or OUT_DIR something.
        DataError: no calibration where one was named, or one that ``svtk.load`` would refuse; damaged metrics.
    """
    source, target = Path(model_dir), Path(out_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError("there is something already", path=target, mend="choose another directory, or remove it")
    model = open_embedder(source)
    if calibration is None:
        places = (source / "calibration.json", source / "valid" / "calibration")
        calibration = next((place for place in places if place.is_file()), None)
    if calibration is not None and not read_calibration(calibration).of_one_score:
        raise DataError("a calibration of more than one score", path=calibration, mend="name another, --calibration")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _copy(source, part)
        if calibration is not None:
            shutil.copy2(calibration, part / "calibration.json")
        _bring_encoder(model, source, part, keep_source)
        _bring_provenance(source, part)
        card = model_card(
            source,
            model,
            name=name or target.name,
            license=license,
            has_calibration=calibration is not None,
        )
        (part / "README.md").write_text(card, encoding="utf-8")
        if target.exists():
            target.rmdir()
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy(source: Path, part: Path) -> None:
    part.mkdir(parents=True)
    own = {"README.md", "calibration.json", "provenance.json"}  # these are made here
    for file in sorted({file for pattern in TRAVELS for file in source.glob(pattern)}):
        if file.name not in own:
            copy_to = part / file.relative_to(source)
            copy_to.parent.mkdir(exist_ok=True)
            shutil.copy2(file, copy_to)


def _bring_encoder(model: SpeakerModel, source: Path, part: Path, keep_source: bool) -> None:
    """A teacher's encoder that does not lie in MODEL_DIR."""
    config = model.config
    if config.kind != "teacher" or is_exported(source):
        return
    encoder = Path(config.teacher["source"])  # as located: absolute, where it lies in MODEL_DIR
    if encoder.is_absolute() and encoder.is_relative_to(source.resolve()):
        return
    if keep_source:
        log.warning("the encoder is not in it: whoever loads the model needs %s", encoder)
        return
    model.encoder.save_pretrained(str(part / "encoder"))
    teacher = {**config.teacher, "source": "encoder"}
    save_yaml(dataclasses.asdict(dataclasses.replace(config, teacher=teacher)), part / "config.yaml")


def _bring_provenance(source: Path, part: Path) -> None:
    """The model's record, its files as they are here (their names are what counts; an encoder is another now)."""
    record = read_record(source, by_content=True)
    if record is None:
        log.warning("%s: how the model was made is not recorded, or it was changed since", source)
        return
    record = copy.deepcopy(record)
    for entry in record["outputs"]:
        _describe_again(entry, part)
    record_path(part).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _describe_again(entry: dict[str, Any], part: Path) -> None:
    written = Path(entry["path"])
    inside = part / "encoder" / written.name if written.parent.name == "encoder" else part / written.name
    if found := stamp(inside):
        entry |= {**found, "sha256": hashlib.sha256(inside.read_bytes()).hexdigest()}
