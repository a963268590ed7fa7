#!/usr/bin/env python3
"""What study.sh asks of its matrix and its results; see study.yaml and study.sh."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NoReturn

import yaml

_DEFAULTS = {"config": "sv_mixer", "kd": "none", "teacher": "none", "seeds": 3, "change": {}}
_FIGURES = ("eer", "min_dcf", "cllr", "min_cllr")


def stop(message: str) -> NoReturn:
    """End the program with one line."""
    sys.exit(f"Error: {message}")


def read_matrix(path: str) -> dict[str, Any]:
    """The matrix with every run's defaults filled in; ends the program where it contradicts itself."""
    matrix = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    matrix["compare"] = [tuple(pair) for pair in matrix.get("compare", [])]
    for name, run in matrix["runs"].items():
        unknown = set(run) - set(_DEFAULTS) - {"groups", "against"}
        if unknown:
            stop(f"{path}: run {name}: unknown key {min(unknown)!r}")
        run.update({key: value for key, value in _DEFAULTS.items() if key not in run})
        if run["kd"] not in matrix["kds"]:
            stop(f"{path}: run {name}: no kd {run['kd']!r}; expected one of {', '.join(matrix['kds'])}")
        if (run["kd"] == "none") != (run["teacher"] == "none"):
            stop(f"{path}: run {name}: kd {run['kd']} does not go with teacher {run['teacher']}")
        if "against" in run:
            matrix["compare"].append((name, run["against"]))
    for name in {name for pair in matrix["compare"] for name in pair} - set(matrix["runs"]):
        stop(f"{path}: compare names {name!r}, which is no run")
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


def list_runs(path: str, group: str, seeds: str) -> None:
    """Lines NAME SEED TEACHER: seed by seed, so that a study cut short has something of everything."""
    runs, most = chosen(read_matrix(path), group), int(seeds)
    rows = [(seed, name) for name, run in runs.items() for seed in range(min(run["seeds"], most or run["seeds"]))]
    for seed, name in sorted(rows, key=lambda row: row[0]):
        print(name, seed, runs[name]["teacher"])


def write_configs(path: str, group: str, conf_dir: str, exp: str, results: str) -> None:
    """EXP/NAME/config.yaml of every run of the group; a result that the matrix no longer describes is an error."""
    matrix = read_matrix(path)
    for name, run in chosen(matrix, group).items():
        base = os.path.join(os.path.abspath(conf_dir), f"study_{run['config']}.yaml")
        if not os.path.exists(base):
            stop(f"{path}: run {name}: {base} is missing")
        config = {"base": base, **run["change"], "kd_losses": matrix["kds"][run["kd"]]}
        spec = {"config": run["config"], "kd": config["kd_losses"], "teacher": run["teacher"], "change": run["change"]}
        for result in sorted(Path(results).glob(f"{name}.seed*.json")):
            if read_json(result)["run"] != spec:
                stop(f"{result}: made by other settings than {path} now says. To mend: remove it, and {exp}/{name}")
        where = Path(exp, name)
        where.mkdir(parents=True, exist_ok=True)
        Path(where, "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        write_json(where / "run.json", spec)


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


def list_pairs(path: str, group: str, results: str) -> None:
    """Lines FIRST SECOND SEED of the comparisons that touch the group and whose two results are there."""
    matrix = read_matrix(path)
    runs = chosen(matrix, group)
    for first, second in matrix["compare"]:
        if first in runs or second in runs:
            for seed in range(min(matrix["runs"][first]["seeds"], matrix["runs"][second]["seeds"])):
                if all((Path(results) / f"{name}.seed{seed}.json").exists() for name in (first, second)):
                    print(first, second, seed)


def add_compared(first: str, second: str, seed: str, trials: str, metrics: str, results: str) -> None:
    """What compute-metrics --compare said, into RESULTS/compare.json."""
    path, found = Path(results) / "compare.json", read_json(metrics)["compare"]
    key = {"first": first, "second": second, "seed": int(seed), "trials": trials}
    record = {
        **key,
        **{
            name: {figure: found[name][figure] for figure in _FIGURES if figure in found[name]}
            for name in ("difference", "difference_interval")
        },
    }
    old = read_json(path) if path.exists() else []
    new = [r for r in old if any(r[k] != key[k] for k in key)] + [record]
    new.sort(key=lambda r: (r["first"], r["second"], r["seed"], r["trials"]))
    if new != old:
        write_json(path, new)


def report(path: str, results: str) -> None:
    """The tables, as Markdown."""
    matrix, found = read_matrix(path), defaultdict(list)
    for file in sorted(Path(results).glob("*.seed*.json")):
        found[file.name.split(".seed")[0]].append(read_json(file))
    teachers = [read_json(file) for file in sorted(Path(results).glob("teacher_*.json"))]
    if teachers:
        print("### Teachers\n")
        _print_table([(t["name"].removeprefix("teacher_"), [t]) for t in teachers])
    for group in dict.fromkeys(g for run in matrix["runs"].values() for g in run["groups"]):
        rows = [(name, found[name]) for name in chosen(matrix, group) if name in found]
        if rows:
            print(f"### {group}\n")
            _print_table(rows)
    path_of_pairs = Path(results) / "compare.json"
    if path_of_pairs.exists():
        print("### Paired differences of EER, in points\n")
        _print_pairs(read_json(path_of_pairs))


def _print_table(rows: list[tuple[str, list[dict[str, Any]]]]) -> None:
    head = ["run", "seeds", "EER %, test", "95 %", "EER %, same sex", "minDCF 0.05", "parameters (M)", "GMACs per 3 s"]
    head += ["training (s)", "CPU (s)"]
    print("|", " | ".join(head), "|\n|", " | ".join(["---", *["---:"] * (len(head) - 1)]), "|")
    for name, runs in rows:
        size, test = runs[0].get("size"), [run["metrics"]["test"] for run in runs]
        sex = [run["metrics"]["test_same_sex"]["eer"] for run in runs if "test_same_sex" in run["metrics"]]
        low, high = (statistics.mean(t["interval"]["eer"][side] for t in test) for side in (0, 1))
        cells = [
            name,
            str(len(runs)),
            _spread([100 * t["eer"] for t in test], 2),
            f"{100 * low:.2f} – {100 * high:.2f}",
            _spread([100 * value for value in sex], 2),
            _spread([t["min_dcf"]["0.05"] for t in test], 3),
            f"{size['parameters'] / 1e6:.3f}" if size else "–",
            f"{size['macs'] / 1e9:.4f}" if size else "–",
            _middle([run["train"]["seconds"] for run in runs if "train" in run]),
            _middle([run["cpu_seconds"] for run in runs if run.get("cpu_seconds")]),
        ]
        print("|", " | ".join(cells), "|")
    print()


def _print_pairs(records: list[dict[str, Any]]) -> None:
    pairs = defaultdict(list)
    for record in records:
        pairs[record["first"], record["second"], record["trials"]].append(record)
    print("| first minus second | trials | seeds | mean ± deviation | lowest … highest | seeds surely not 0 (95 %) |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (first, second, trials), of_seeds in pairs.items():
        points = [100 * r["difference"]["eer"] for r in of_seeds]
        sure = sum(not low <= 0 <= high for low, high in (r["difference_interval"]["eer"] for r in of_seeds))
        cells = [f"{first} − {second}", trials, str(len(points)), _spread(points, 2)]
        print("|", " | ".join([*cells, f"{min(points):.2f} … {max(points):.2f}", str(sure)]), "|")
    print()


def _spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):.0f}" if values else "–"


_COMMANDS = {
    "list": list_runs,
    "configs": write_configs,
    "result": write_result,
    "pairs": list_pairs,
    "compared": add_compared,
    "report": report,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _COMMANDS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(_COMMANDS)} ARGUMENT...")
    _COMMANDS[sys.argv[1]](*sys.argv[2:])
