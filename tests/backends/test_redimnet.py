"""ReDimNet: reshaping, stages, published sizes; and its fusion with the spectrogram."""

from __future__ import annotations

import pytest
import torch

from svtk.backends._redimnet import SIZES, ChannelSum, EmbeddingHead, Layout, ReDimNet, Stage, to_1d, to_2d
from svtk.errors import ModelError
from svtk.registry import configure

SMALL = Layout(6, 4, (Stage(1, 1, 1, 6), Stage(2, 1, 2), Stage(3, 2, 1, 3)), group_channels=2)


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_reshaping_keeps_the_channels_of_a_frequency_together():
    x = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)  # (B, C, F, T)
    flat = to_1d(x)
    assert flat.shape == (2, 12, 5) and torch.equal(to_2d(flat, 4), x)
    assert torch.equal(flat[:, 3 * 1 : 3 * 2], x[:, :, 1])


def test_a_channel_sum_weighs_each_channel_by_itself():
    maps = [torch.randn(2, 3, 5) for _ in range(2)]
    channel_sum = ChannelSum(2, 3)
    with torch.no_grad():
        channel_sum.logits.copy_(torch.tensor([[0.1, 0.5, 1.0], [0.9, 0.5, 1e-30]]).log()[..., None])
    for channel, (a, b) in enumerate([(0.1, 0.9), (0.5, 0.5), (1.0, 0.0)]):
        torch.testing.assert_close(channel_sum(maps)[:, channel], a * maps[0][:, channel] + b * maps[1][:, channel])
    with pytest.raises(ValueError):
        channel_sum(maps[:1])


@pytest.mark.parametrize("block", ["resnet", "convnext"])
@pytest.mark.parametrize("frames", [1, 2, 31])
def test_every_map_has_one_volume(block, frames):
    layout = Layout(6, 4, SMALL.stages, block, 1)
    body, x = ReDimNet(layout).eval(), torch.randn(2, 24, frames)
    maps = [x]
    for stage in body.stages:
        maps.append(stage(maps))
        assert maps[-1].shape == (2, 24, frames)
    torch.testing.assert_close(body(x), sum(maps) / 4)


def test_injected_maps_go_into_the_first_stages():
    body, (x, a, b) = ReDimNet(SMALL, num_injected=2).eval(), torch.randn(3, 2, 24, 9)
    one = body.stages[0]([x, a])
    two = body.stages[1]([x, a, one, b])
    three = body.stages[2]([x, a, one, b, two])
    torch.testing.assert_close(body(x, [a, b]), (x + a + one + b + two + three) / 6)


@pytest.mark.parametrize(("size", "published"), [("b0", 1.0e6), ("b1", 2.2e6), ("b2", 4.7e6)])
def test_the_published_sizes(size, published):
    """With the spectrogram's stem, pooling and a linear layer to 192; b2 is the furthest, 4 % above."""
    layout = SIZES[size]
    stem = 9 * layout.channels + layout.channels + 2 * layout.channels
    found = count(ReDimNet(layout), EmbeddingHead(layout.volume, 192)) + stem
    assert found == pytest.approx(published, rel=0.045)


@pytest.mark.parametrize("size", SIZES)
def test_the_projection_is_there_only_where_it_is_needed(size):
    volume = SIZES[size].volume
    backend = configure("backends", {"name": "redimnet", "size": size}).build(num_hidden=2, hidden_dim=volume)
    other = configure("backends", {"name": "redimnet", "size": size}).build(num_hidden=2, hidden_dim=32)
    assert count(other) - count(backend) == 32 * volume + volume
    assert backend.eval()([torch.randn(1, 20, volume)] * 2).shape == (1, 192)


# Fusion

FUSION = {
    **{"name": "redimnet_fusion", "num_injected": 2, "merge_layers": 2, "num_mels": 10, "embedding_dim": 5},
    "layout": {"frequencies": 6, "channels": 4, "stages": [{"reduction": 6}, {"stride": 2}]},
}


def fusion(num_hidden=4, **options):
    torch.manual_seed(8)
    return configure("backends", {**FUSION, **options}).build(num_hidden=num_hidden, hidden_dim=6).eval()


def test_the_fusion_of_ssrfnet():
    """12 blocks of width 1024: windows of 4 over states 1 to 12; 74.2 M with the encoder, which has 49.7 M."""
    backend = configure("backends", {"name": "redimnet_fusion"}).build(num_hidden=13, hidden_dim=1024)
    assert backend.first_layers == [1, 4, 6, 9] and backend.merge_layers == 4
    blocks, frontend = 12 * 3_745_969 + 2 * 1024, 5120 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2048 + 513 * 1024
    assert count(backend) + blocks + frontend == pytest.approx(74.2e6, rel=0.015)


@pytest.mark.parametrize(
    ("num_hidden", "first", "merged"), [(2, [1, 1], 1), (3, [1, 1], 2), (4, [1, 2], 2), (25, [1, 23], 2)]
)
def test_windows_reach_from_the_first_block_to_the_last(num_hidden, first, merged):
    backend = fusion(num_hidden)
    assert (backend.first_layers, backend.merge_layers) == (first, merged)
    assert backend([torch.randn(1, 24, 6)] * num_hidden, torch.randn(1, 8000)).shape == (1, 5)


def test_it_hears_both_sides():
    backend, hidden, wav = fusion(), [torch.randn(1, 24, 6) for _ in range(4)], torch.randn(1, 8000)
    expected = backend(hidden, wav)
    assert not torch.allclose(backend(hidden, torch.randn(1, 8000)), expected, atol=1e-3)
    for layer in range(1, 4):
        other = [*hidden[:layer], torch.randn(1, 24, 6), *hidden[layer + 1 :]]
        assert not torch.allclose(backend(other, wav), expected, atol=1e-3)


@pytest.mark.parametrize("frames", [23, 24, 25, 26])
def test_the_longer_side_is_cut(frames):
    """0.5 s are 24 frames of the spectrogram; an encoder may have one or two more or fewer."""
    backend, hidden, wav = fusion(), [torch.randn(1, frames, 6) for _ in range(4)], torch.randn(1, 8000)
    kept = [state[:, :24] for state in hidden]
    torch.testing.assert_close(backend(hidden, wav), backend(kept, wav))


@pytest.mark.parametrize("frames", [10, 27])
def test_hidden_states_of_another_wav(frames):
    with pytest.raises(ModelError, match=f"not of this wav; found {frames} frames; expected about 24"):
        fusion()([torch.randn(1, frames, 6)] * 4, torch.randn(1, 8000))


def test_frames_of_both_sides_are_of_one_time():
    """A click's centre of energy over the spectrogram's convolution lies where the waveform frontend's frame is."""
    backend = fusion()
    with torch.no_grad():
        backend.spectrogram_conv.weight.fill_(1.0)
        backend.spectrogram_conv.bias.zero_()
    for frame in (10, 15):
        wav = torch.zeros(1, 8000)
        wav[0, 320 * frame + 200] = 1.0  # the middle of the 400 samples that hidden frame t sees
        x = backend.spectrogram_conv(backend.log_mel(wav) - backend.log_mel(wav).amin())[0].sum(0)
        assert int(x.argmax()) == frame
