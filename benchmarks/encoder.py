"""One SV-Mixer block beside one Transformer layer and beside its own bare matrix products.

    python benchmarks/encoder.py [--threads 1 2] [--batches 1 8] [--seconds 10] [--precision bfloat16]

H = 1024, T = 149 (3 s), evaluation, inference mode, eager. The Transformer layer is torch's own (FFN 2048, 16 heads;
its fast path on), the faster of pre- and post-norm. The bare products are those of the block's shapes, each by MKL or
by oneDNN with reordered weights, whichever is faster here. All take turns; one thread is timed by its processor time.
Exit status 1, and a profile of the block, where the block takes more than --max-ratio of the layer's time (the ratio of
their MACs is 0.49) or --max-bare times that of its products. --training compares forward and backward passes of the
trainable modules instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from _timing import machine, side_by_side
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from svtk.onednn import FusedConv, dtype_of
from svtk.students import conv_mixer, cycle_mlp, mlp_mixer, sv_mixer

WIDTH, FRAMES, GROUPS = 1024, 149, 8


def transformer_layer(norm_first: bool) -> nn.Module:
    """The paper's Transformer layer."""
    return nn.TransformerEncoderLayer(WIDTH, 16, 2048, activation="gelu", batch_first=True, norm_first=norm_first)


def product_ways(batch: int, precision: str) -> list[tuple[Callable, Callable]]:
    """For each product of the block: once with MKL, once, weights reordered, with oneDNN."""
    dtype = dtype_of(precision)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype)

    ways = []
    for rows, columns in ((4 * FRAMES, FRAMES), (FRAMES, 4 * FRAMES)):  # the token MLP
        weight, x = random(rows, columns).expand(batch, -1, -1), random(batch, columns, WIDTH)
        turned, layer = random(batch, WIDTH, columns), FusedConv(random(rows, columns, 1), None, precision)
        ways.append((lambda w=weight, x=x: torch.bmm(w, x), lambda x=turned, layer=layer: layer(x)))
    narrow, wide = WIDTH // GROUPS, 4 * WIDTH // GROUPS
    shapes = [(narrow, wide, 1, f) for f in (FRAMES, FRAMES // 2)] + [
        (wide, narrow, 1, f) for f in (FRAMES, FRAMES // 2)
    ]
    for inputs, outputs, kernel, frames in [
        *shapes,
        (narrow, narrow, 3, FRAMES),
    ]:  # both group MLPs, grouped convolution
        x, weight = random(GROUPS, batch * frames, inputs * kernel), random(GROUPS, inputs * kernel, outputs)
        layer = FusedConv(random(GROUPS * outputs, inputs, kernel), None, precision, padding=kernel // 2, groups=GROUPS)
        y = random(batch, frames, GROUPS * inputs)
        ways.append((lambda w=weight, x=x: torch.bmm(x, w), lambda x=y, layer=layer: layer(x)))
    x, weight = random(batch, FRAMES, WIDTH), random(WIDTH, WIDTH)  # the join
    layer = FusedConv(weight[:, :, None], None, precision)
    ways.append((lambda: torch.nn.functional.linear(x, weight), lambda: layer(x)))
    return ways


def bare_products(batch: int, precision: str) -> Callable[[], None]:
    """The block's matrix products and nothing else, each in the faster way."""
    chosen = []
    for mkl, onednn in product_ways(batch, precision):
        times = side_by_side({"mkl": mkl, "onednn": onednn}, 0.2, least=5)
        chosen.append(mkl if times["mkl"] < times["onednn"] else onednn)

    def run() -> None:
        for product in chosen:
            product()

    return run


def show_profile(block: nn.Module, x: Tensor) -> None:
    """Where the block's time goes."""
    with profile(activities=[ProfilerActivity.CPU]) as events:
        for _ in range(10):
            block(x)
    print(events.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


def inference(args: argparse.Namespace, batch: int) -> bool:
    """Time one batch size; whether the goals are met."""
    x = torch.randn(batch, FRAMES, WIDTH, dtype=dtype_of(args.precision))
    plain = sv_mixer.SVMixerBlock(sv_mixer.Config(), FRAMES).eval()
    fused = plain.fused(args.precision)
    pre, post = (transformer_layer(first).eval().to(x.dtype) for first in (True, False))
    plain = plain.to(x.dtype)
    times = side_by_side(
        {
            "pre-norm layer": lambda: pre(x),
            "block": lambda: fused(x),
            "bare products": bare_products(batch, args.precision),
            "block, as trained": lambda: plain(x),
            "post-norm layer": lambda: post(x),
        },
        args.seconds,
    )
    layer = min(times["pre-norm layer"], times["post-norm layer"])
    for name, seconds in times.items():
        print(f"  {name:18} {1e3 * seconds:8.2f} ms   {seconds / layer:5.2f} of the layer")
    ratio, bare = times["block"] / layer, times["block"] / times["bare products"]
    met = ratio <= args.max_ratio and bare <= args.max_bare
    print(
        f"  block ÷ layer {ratio:.3f} (at most {args.max_ratio:g}), block ÷ bare products {bare:.3f} "
        f"(at most {args.max_bare:g}): {'met' if met else 'missed'}",
        flush=True,
    )
    if not met:
        show_profile(fused, x)
    return met


def training(args: argparse.Namespace, batch: int) -> None:
    """Forward and backward passes of all students' blocks beside the Transformer layer's."""
    x = torch.randn(batch, FRAMES, WIDTH, requires_grad=True)
    layers = {"Transformer layer": transformer_layer(True)}
    for module in (sv_mixer, mlp_mixer, cycle_mlp, conv_mixer):
        [layers[module.__name__.rpartition(".")[2]]] = module.build(
            module.Config(num_layers=1), num_frames=FRAMES
        ).blocks
    times = side_by_side(
        {name: lambda layer=layer: layer(x).sum().backward() for name, layer in layers.items()}, args.seconds
    )
    for name, seconds in times.items():
        print(
            f"  {name:18} {1e3 * seconds:8.2f} ms   {seconds / times['Transformer layer']:5.2f} of the layer",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each pair of threads and batch")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--max-ratio", type=float, default=0.55)
    parser.add_argument("--max-bare", type=float, default=1.3)
    parser.add_argument("--training", action="store_true")
    args = parser.parse_args()
    print(f"{machine()}, {'training' if args.training else args.precision}")
    torch.manual_seed(0)
    met = True
    for threads in args.threads:
        torch.set_num_threads(threads)
        for batch in args.batches:
            print(f"{threads} thread(s), batch {batch}")
            if args.training:
                training(args, batch)
            else:
                with torch.inference_mode():
                    met &= inference(args, batch)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
