"""Size and compute of the students of the paper's Table I (arXiv 2509.14136) beside ours, from conf/.

    python benchmarks/table1.py [--markdown]

Per layer at H = 1024 and T = 149 (3 s), then for whole models with the paper's frontend and ECAPA-TDNN. Counted, not
timed: nothing is computed, and the same figures come out on every machine. The paper's GMACs of the Transformer leave
out the products of attention itself; a row of its own has ours without them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from svtk.config import load_config
from svtk.deploy.describe import Cost, count, describe
from svtk.models.speaker_model import StudentSpec, build_model
from svtk.registry import configure

CONF = Path(__file__).resolve().parents[1] / "conf"
WIDTH, FRAMES = 1024, 149
#: parameters in millions and GMACs of a layer, by the name of the student
PAPER = {
    "transformer": (8.40, 1.25),
    "mlp_mixer": (8.58, 1.43),
    "cycle_mlp": (9.45, 1.42),
    "conv_mixer": (9.02, 1.48),
    "sv_mixer": (3.75, 0.63),
}
#: GMACs per 3 s of the SV-Mixers that the authors released, by their number of blocks
RELEASED = {5: 11.9, 17: 19.4}


def layer(name: str) -> Cost:
    """What one more layer costs a student."""
    spec = load_config(CONF / f"distill_{name}.yaml")["student"]
    with torch.device("meta"):
        costs = [
            count(
                configure("students", {**spec, "num_layers": layers}).build(num_frames=FRAMES),
                torch.empty(1, FRAMES, WIDTH),
            )
            for layers in (1, 2)
        ]
    return costs[1] - costs[0]


def layers() -> Iterator[tuple[str, ...]]:
    """Rows of Table I."""
    yield "student", "M, paper", "M, ours", "ratio", "GMACs, paper", "GMACs, ours", "ratio"
    for name, (size, compute) in PAPER.items():
        ours = layer(name)
        millions, macs = ours.parameters / 1e6, ours.macs / 1e9
        row = name, f"{size:.2f}", f"{millions:.3f}", f"{millions / size:.3f}"
        yield *row, f"{compute:.2f}", f"{macs:.3f}", f"{macs / compute:.3f}"
        if name == "transformer":
            macs -= 2 * FRAMES**2 * WIDTH / 1e9
            yield "  its products aside", "", "", "", f"{compute:.2f}", f"{macs:.3f}", f"{macs / compute:.3f}"


def models() -> Iterator[tuple[str, ...]]:
    """Rows of whole SV-Mixers."""
    yield "blocks", "GMACs, paper", "GMACs, ours", "ratio", "M, ours"
    mapping = load_config(CONF / "distill_sv_mixer.yaml")
    parts = {key: mapping[key] for key in ("crop_duration", "frontend", "student", "backend")}
    for blocks, compute in RELEASED.items():
        spec = StudentSpec(**{**parts, "student": {**parts["student"], "num_layers": blocks}})
        ours = describe(build_model(spec.model_config()))
        macs = ours["macs"] / 1e9
        row = f"{compute:.1f}", f"{macs:.2f}", f"{macs / compute:.3f}", f"{ours['parameters'] / 1e6:.2f}"
        yield str(blocks), *row


def show(rows: Iterator[tuple[str, ...]], markdown: bool) -> None:
    """Print rows, of which the first is the heading, as an aligned or a markdown table."""
    heading, *body = rows
    widths = [max(map(len, column)) for column in zip(heading, *body, strict=True)]
    rule = ["-" * widths[0], *(("-" * (width - 1) + ":") if markdown else "-" * width for width in widths[1:])]
    for row in (heading, rule, *body):
        first, *others = row
        cells = [f"{first:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(others, widths[1:], strict=True))]
        print(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print markdown tables")
    markdown = parser.parse_args().markdown
    print(f"One layer, H = {WIDTH}, T = {FRAMES}\n")
    show(layers(), markdown)
    print("\nSV-Mixer with frontend and ECAPA-TDNN, per 3 s\n")
    show(models(), markdown)


if __name__ == "__main__":
    main()
