#!/usr/bin/env python3
"""What study.sh asks of its matrix and of its runs; see study.yaml and study.sh."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import yaml

_DEFAULTS = {"config": "sv_mixer", "kd": "none", "teacher": "none", "seeds": 1, "change": {}}
_FIGURES = ("eer", "min_dcf", "cllr", "min_cllr")
_NUM_DRAWS = 500  # of speakers


def stop(message: str) -> NoReturn:
    """End the program with one line."""
    sys.exit(f"Error: {message}")


def read_matrix(path: str) -> dict[str, Any]:
    """The matrix with every run's defaults filled in; ends the program where it contradicts itself."""
    matrix = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    matrix["compare"] = [tuple(pair) for pair in matrix.get("compare", [])]
    for name, run in matrix["runs"].items():
        unknown = set(run) - set(_DEFAULTS) - {"groups", "against", "paper"}
        if unknown:
            stop(f"{path}: run {name}: unknown key {min(unknown)!r}")
        run.update({key: value for key, value in _DEFAULTS.items() if key not in run})
        if run["kd"] not in matrix["kds"]:
            stop(f"{path}: run {name}: no kd {run['kd']!r}; expected one of {', '.join(matrix['kds'])}")
        if (run["kd"] == "none") != (run["teacher"] == "none"):
            stop(f"{path}: run {name}: kd {run['kd']} does not go with teacher {run['teacher']}")
    compared = {name for pair in matrix["compare"] for name in pair}
    compared |= {run["against"] for run in matrix["runs"].values() if "against" in run}
    for name in compared - set(matrix["runs"]):
        stop(f"{path}: compare or against names {name!r}, which is no run")
    return matrix


def chosen(matrix: dict[str, Any], group: str) -> dict[str, dict[str, Any]]:
    """The runs of a group."""
    groups = sorted({g for run in matrix["runs"].values() for g in run["groups"]})
    if group != "all" and group not in groups:
        stop(f"--group {group}: expected one of all, {', '.join(groups)}")
    return {name: run for name, run in matrix["runs"].items() if group == "all" or group in run["groups"]}


def read_json(path: str | os.PathLike) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Whole or not at all."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def list_runs(path: str, group: str, seeds: str, only: str = "") -> None:
    """Lines NAME SEED TEACHER: seed by seed, so that a study cut short has something of everything.

    *seeds* of each run; 0: as many as the matrix says.
    """
    runs, names = chosen(read_matrix(path), group), only.split(",") if only else []
    for name in set(names) - set(runs):
        stop(f"--only {only}: group {group} has no run {name!r}; expected some of {', '.join(runs)}")
    runs = {name: run for name, run in runs.items() if not names or name in names}
    rows = [(seed, name) for name, run in runs.items() for seed in range(int(seeds) or run["seeds"])]
    for seed, name in sorted(rows, key=lambda row: row[0]):
        print(name, seed, runs[name]["teacher"])


def write_configs(path: str, group: str, conf_dir: str, exp: str, results: str) -> None:
    """EXP/NAME/config.yaml of every run of the group; a result that matrix and YAML no longer describe is an error."""
    from svtk.config import load_config

    matrix = read_matrix(path)
    for name, run in chosen(matrix, group).items():
        base = os.path.join(os.path.abspath(conf_dir), f"study_{run['config']}.yaml")
        if not os.path.exists(base):
            stop(f"{path}: run {name}: {base} is missing")
        config = {"base": base, **run["change"], "kd_losses": matrix["kds"][run["kd"]]}
        spec = {"config": run["config"], "kd": config["kd_losses"], "teacher": run["teacher"], "change": run["change"]}
        where = Path(exp, name)
        where.mkdir(parents=True, exist_ok=True)
        Path(where, "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        wanted = load_config(where / "config.yaml")
        for file in sorted(Path(results).glob(f"{name}.seed*.json")):
            result = read_json(file)
            if result["run"] != spec or not _holds(result["config"], wanted):
                stop(f"{file}: made by other settings than {path} and {base} now say. To mend: remove it, and {where}")
        write_json(where / "run.json", spec)


def _holds(resolved: Any, wanted: Any) -> bool:
    """Whether a resolved configuration has every value that is *wanted*; it has those of defaults, too."""
    if isinstance(wanted, dict):
        return isinstance(resolved, dict) and all(k in resolved and _holds(resolved[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return len(resolved) == len(wanted) and all(map(_holds, resolved, wanted))
    return resolved == wanted


def metrics_of(directory: str) -> dict[str, Any]:
    """``trials: {eer, min_dcf, cllr, min_cllr, interval: {...}}``, of what study_measure.sh left."""
    result = {}
    for file in sorted(Path(directory).glob("eval_*/metrics.json")):
        found = read_json(file)
        result[file.parent.name.removeprefix("eval_")] = {
            **{key: found[key] for key in (*_FIGURES, "num_targets", "num_nontargets", "confidence") if key in found},
            "interval": {key: found["interval"][key] for key in _FIGURES if key in found["interval"]},
        }
    return result


def write_result(name: str, seed: str, run: str, directory: str, device: str, out: str) -> None:
    """The result of a run, or of a teacher (RUN ``none``): all that is kept of it in the repository."""
    result: dict[str, Any] = {"name": name, "seed": int(seed), "revision": revision(), "device": device_name(device)}
    if run != "none":
        result["run"] = read_json(run)
    for key, file in (("train", "train.json"), ("size", "size.json")):
        if (Path(directory) / file).exists():
            result[key] = read_json(Path(directory) / file)
    if "size" in result:
        keys = ("parameters", "macs", "duration", "window")
        result["size"] = {key: result["size"][key] for key in keys}
    if Path(f"{directory}.times").exists():
        result["attempts"] = len(Path(f"{directory}.attempts").read_text().split())
        # what a killed attempt took is not known
        result["cpu_seconds"] = cpu_seconds(f"{directory}.times") if result["attempts"] == 1 else None
    if (Path(directory) / "run.yaml").exists():
        result["config"] = yaml.safe_load((Path(directory) / "run.yaml").read_text(encoding="utf-8"))["config"]
    result["metrics"] = metrics_of(directory)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_json(out, result)


def cpu_seconds(path: str) -> float:
    """User and system seconds of the children of a shell, from the second line that its ``times`` printed."""
    words = Path(path).read_text().splitlines()[1].replace(",", ".").split()
    return round(sum(60 * float(word.split("m")[0]) + float(word.split("m")[1].rstrip("s")) for word in words), 1)


def revision() -> str | None:
    """Of the checkout, with a + where it has changes."""
    git = ["git", "-C", os.path.dirname(os.path.abspath(__file__))]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes.stdout else "")


def device_name(device: str) -> str:
    """What ran: the processor, or torch's name of the GPU."""
    if device == "cpu":
        try:
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), None)
        except OSError:
            model = None
        return f"cpu: {model or platform.machine()}, 1 thread"
    import torch

    return torch.cuda.get_device_name(device)


def crop_duration(path: str, conf_dir: str) -> None:
    """Seconds of the longest crop of the runs that a teacher's hidden states teach."""
    from svtk.config import load_config

    crops = [0.0]
    for run in read_matrix(path)["runs"].values():
        if run["teacher"].startswith("whisper"):
            config = load_config(Path(conf_dir, f"study_{run['config']}.yaml"))
            crops.append({**config, **run["change"]}["crop_duration"])
    print(max(crops))


def add_draws(results: str, exp: str, data: str) -> None:
    """Into every result: its figures with each draw of test speakers, from its scores in EXP where these are.

    With them the report has intervals over seeds and speakers when the scores are long gone.
    """
    for pattern in ("teacher_*.json", "*.seed*.json"):
        for file in sorted(Path(results).glob(pattern)):
            result = read_json(file)
            name = result["name"].removeprefix("teacher_")
            where = Path(exp, name, f"seed{result['seed']}") if "run" in result else Path(exp, "teachers", name)
            if "draws" in result or not all((where / f"eval_{t}/scores").exists() for t in result["metrics"]):
                continue
            found = {trials: _draws(where, data, trials) for trials in result["metrics"]}
            if any(eer != result["metrics"][trials]["eer"] for trials, (eer, _) in found.items()):
                print(f"{file}: {where} holds another run's scores; no draws of speakers", file=sys.stderr)
                continue
            print(f"{file}: draws of speakers", file=sys.stderr)
            write_json(file, {**result, "draws": {trials: draws for trials, (_, draws) in found.items()}})


def _draws(where: Path, data: str, trials: str) -> tuple[float, dict[str, str]]:
    """The EER, and EER and minDCF of every draw as :func:`study_statistics.to_words` puts them."""
    from study_statistics import to_words

    from svtk.score.bootstrap import ResampledTrials, draw_speakers, replicate_figures
    from svtk.score.groups import read_utt2spk, trial_speakers
    from svtk.score.labels import read_labelled
    from svtk.score.metrics import DEFAULT_COSTS, figure_names, metrics_of

    scores, utt2spk = where / f"eval_{trials}/scores", f"{data}/test/utt2spk"
    scored = read_labelled(scores, f"{data}/trials/{trials}", with_keys=True)
    speakers = trial_speakers(scored, read_utt2spk(utt2spk), utt2spk)
    resampled = ResampledTrials(scored.scores, scored.labels, speakers)
    found = replicate_figures(resampled, draw_speakers(speakers.num_spks, _NUM_DRAWS))
    columns = {"eer": "eer", "min_dcf": "min_dcf/0.05"}
    names = figure_names(DEFAULT_COSTS)
    draws = {key: to_words(found[:, names.index(name)]) for key, name in columns.items()}
    return metrics_of(resampled.points).eer, draws


_COMMANDS = {
    "list": list_runs,
    "configs": write_configs,
    "result": write_result,
    "crop": crop_duration,
    "draws": add_draws,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _COMMANDS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(_COMMANDS)} ARGUMENT...")
    _COMMANDS[sys.argv[1]](*sys.argv[2:])
