"""Kaldi's configuration files of ``--key=value`` lines, as conf/vad.conf and conf/mfcc.conf, for speech activity."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from svtk.config import nearest
from svtk.data.speech_activity import EnergyOptions, VadOptions
from svtk.errors import ConfigError

__all__ = ["read_vad_config"]

#: keys of compute-mfcc-feats that frames' energies do not hang on
_NEUTRAL = frozenset(
    (
        "num-mel-bins",
        "num-ceps",
        "low-freq",
        "high-freq",
        "cepstral-lifter",
        "vtln-low",
        "vtln-high",
        "round-to-power-of-two",
    )
    + ("debug-mel", "htk-compat", "htk-mode", "allow-downsample", "allow-upsample", "dither", "window-type", "verbose")
)
#: keys of which one value only can be had here
_ONLY = {"sample-frequency": 16000.0, "frame-shift": 10.0, "use-energy": True, "remove-dc-offset": True}


def read_vad_config(path: str) -> dict[str, Any]:
    """Read a Kaldi configuration: fields of :class:`EnergyOptions`, and of :class:`VadOptions` with ``vad_`` before.

    Of compute-mfcc-feats' keys those that do not change energies are passed over, dither too.

    Raises:
        ConfigError: an unreadable file, or a line with an unknown key, or with a value that cannot be had here.
    """
    kinds = {field.name: field.default for field in dataclasses.fields(EnergyOptions)}
    kinds |= {f"vad_{field.name}": field.default for field in dataclasses.fields(VadOptions)}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read configuration: {error}", path=path) from error
    result = {}
    for number, line in enumerate(lines, 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        key, equals, value = text.removeprefix("--").partition("=")
        key, value = key.strip().replace("_", "-"), value.strip() if equals else "true"
        if not text.startswith("--"):
            raise ConfigError("malformed line", path=path, line=number, found=repr(text), expected="--key=value")
        if key in _NEUTRAL:
            continue
        name = key.replace("-", "_")
        if key not in _ONLY and name not in kinds:
            raise ConfigError(
                f"unknown key {key!r}", path=path, line=number, mend=nearest(name, kinds).replace("_", "-")
            )
        default = _ONLY.get(key, kinds.get(name))
        try:
            parsed = _parsed(value, default)
        except ValueError:
            expected = {bool: "true or false", int: "a whole number"}.get(type(default), "a number")
            raise ConfigError(
                f"bad value of {key!r}", path=path, line=number, found=repr(value), expected=expected
            ) from None
        if key not in _ONLY:
            result[name] = parsed
        elif parsed != default:
            expected = str(default).lower()
            raise ConfigError(f"{key!r} cannot be had", path=path, line=number, found=value, expected=expected)
    return result


def _parsed(value: str, like: bool | int | float) -> bool | int | float:
    if isinstance(like, bool):
        if value.lower() not in ("true", "false", "t", "f", "1", "0"):
            raise ValueError
        return value.lower() in ("true", "t", "1")
    return int(value) if isinstance(like, int) else float(value)
