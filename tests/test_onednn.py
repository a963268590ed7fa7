"""oneDNN's fused convolution against torch's own operators."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from svtk import onednn
from svtk.onednn import FusedConv

CASES = {
    "linear": (8, 24, 1, {}),
    "grouped linear": (32, 64, 1, {"groups": 4}),
    "depthwise": (48, 48, 7, {"padding": 3, "groups": 48}),
    "grouped": (32, 32, 3, {"padding": 1, "groups": 2}),
    "strided": (16, 32, 3, {"stride": 2}),
    "dilated": (16, 16, 3, {"dilation": 2, "padding": 2}),
    "odd widths": (7, 5, 2, {"stride": 2}),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_convolution(case, bias):
    torch.manual_seed(0)
    channels, outputs, kernel, geometry = CASES[case]
    conv = nn.Conv1d(channels, outputs, kernel, bias=bias, **geometry).eval()
    acts = {"none": lambda y: y, "gelu": F.gelu, "relu": F.relu}
    layers = {act: FusedConv(conv.weight, conv.bias, act=act, **geometry) for act in acts}
    with torch.inference_mode():
        for batch, frames in ((1, 20), (3, 20), (2, 33)):
            x = torch.randn(batch, frames, channels)
            plain = conv(x.transpose(1, 2)).transpose(1, 2)
            for act, function in acts.items():
                torch.testing.assert_close(layers[act](x), function(plain), rtol=0, atol=1e-5)
            residual = torch.randn_like(plain).contiguous()
            before = residual.clone()
            torch.testing.assert_close(layers["none"](x, residual), plain + residual, rtol=0, atol=1e-5)
            assert torch.equal(residual, before)


def test_bfloat16():
    conv = nn.Conv1d(16, 32, 3, padding=1)
    x = torch.randn(2, 9, 16)
    with torch.inference_mode():
        found = FusedConv(conv.weight, conv.bias, "bfloat16", padding=1)(x.bfloat16())
        expected = conv(x.transpose(1, 2)).transpose(1, 2)
    assert found.dtype == torch.bfloat16 and found.is_contiguous()
    assert (found.float() - expected).norm() < 0.02 * expected.norm()


@pytest.fixture
def untried():
    """As in a new process; afterwards, too."""
    onednn.available.cache_clear()
    yield
    onednn.available.cache_clear()


def failing(error):
    def convolution(*args):
        raise error

    return convolution


def wrong(x, *args):
    return torch.zeros(len(x), 16, 1, x.shape[3], dtype=x.dtype)


@pytest.mark.parametrize(
    ("convolution", "reason"),
    [
        (failing(AttributeError("no operator")), "no operator"),
        (failing(RuntimeError("no bf16\non this CPU")), "no bf16"),
        (failing(TypeError()), "TypeError"),
        (wrong, "a convolution was wrong by "),
    ],
)
def test_operators_that_fail_are_not_used(untried, monkeypatch, caplog, convolution, reason):
    """Those of another torch, or without support by the processor: the log says so once."""
    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", convolution)
    assert not onednn.available("bfloat16") and not onednn.available("bfloat16")
    [record] = caplog.records
    assert record.getMessage().startswith("no fused operators of oneDNN in bfloat16: models run unfused, and slower (")
    assert f"({reason}" in record.getMessage() and "\n" not in record.getMessage()


def test_a_processor_without_bfloat16():
    """A process whose torch takes the CPU for one with AVX2 alone, where the fused operators refuse bfloat16."""
    script = """
import torch
from svtk.models.speaker_model import StudentSpec, build_model
torch.manual_seed(0)
student = {"name": "sv_mixer", "num_layers": 1, "hidden_dim": 16, "group_dim": 8}
spec = StudentSpec(0.5, {"name": "waveform_conv", "channels": 8}, student, {"name": "linear", "embedding_dim": 8})
model, wavs = build_model(spec.model_config()).eval(), [torch.randn(9000)]
rows = [model.for_inference(precision).embed_cover(wavs)[0] for precision in ("float32", "bfloat16")]
print(float(torch.cosine_similarity(*rows, dim=0)))
"""
    environ = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert 0.99 < float(done.stdout) <= 1.0001
