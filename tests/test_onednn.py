"""oneDNN's fused convolution against torch's own operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
