"""Exported models against the models that they are of, for every student, backend and frontend."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from svtk.data.features import LogMel
from svtk.deploy import export as module
from svtk.deploy.evaluate import eer
from svtk.deploy.export import export, relative_difference
from svtk.deploy.graphs import _GraphLogMel
from svtk.errors import ConfigError, DataError, ModelError
from svtk.models.exported import open_embedder
from svtk.models.speaker_model import ModelConfig, StudentSpec, build_model, load_model, save_model
from svtk.registry import names

LAYOUT = {"frequencies": 4, "channels": 4, "stages": [{"stride": 2, "num_blocks": 1, "reduction": 4}]}
SMALL = {"num_layers": 1, "hidden_dim": 16}
#: every student, every backend and both frontends, each at least once
MODELS = {
    "sv_mixer": ({"name": "sv_mixer", "group_dim": 8, **SMALL}, {"name": "ecapa_tdnn", "res2net_scale": 2}, "log_mel"),
    "transformer": ({"name": "transformer", "num_heads": 2, **SMALL}, {"name": "redimnet", "layout": LAYOUT}, None),
    "mlp_mixer": (
        {"name": "mlp_mixer", **SMALL},
        {"name": "redimnet_fusion", "layout": LAYOUT, "num_injected": 1},
        None,
    ),
    "cycle_mlp": ({"name": "cycle_mlp", **SMALL}, {"name": "linear"}, None),
    "conv_mixer": ({"name": "conv_mixer", **SMALL}, {"name": "mhfa", "num_heads": 2, "compression_dim": 4}, None),
    "ecapa_dense": ({"name": "cycle_mlp", **SMALL}, {"name": "ecapa_dense", "res2net_scale": 2}, "log_mel"),
}
ECAPA = {"channels": 8, "aggregate_channels": 8, "attention_channels": 4, "se_channels": 4}


def test_every_component_is_here():
    assert {student["name"] for student, _, _ in MODELS.values()} == set(names("students"))
    assert {backend["name"] for _, backend, _ in MODELS.values()} == set(names("backends"))


def model_dir(place, name):
    student, backend, frontend = MODELS[name]
    torch.manual_seed(31)
    spec = StudentSpec(
        crop_duration=0.5,
        frontend={"name": frontend or "waveform_conv", "channels": 6},
        student=student,
        backend={**backend, **(ECAPA if backend["name"].startswith("ecapa") else {}), "embedding_dim": 6},
    )
    model = build_model(spec.model_config())
    for value in model.buffers():  # running statistics as after training
        if value.dtype == torch.float32 and value.ndim == 1 and value.unique().numel() == 1:
            value.mul_(1.1).add_(0.05)
    save_model(model, place)
    return str(place)


def wavs():
    torch.manual_seed(32)
    return [0.1 * torch.randn(length) for length in (8000, 8001, 8320, 15_680, 23_456)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function from a model's name to its MODEL_DIR, which holds its float32 export ``onnx``; made once."""

    @functools.cache
    def make(name):
        directory = model_dir(tmp_path_factory.mktemp(name) / "model", name)
        export(directory, f"{directory}/onnx")
        return directory

    return make


@pytest.fixture(scope="module", params=MODELS)
def both(request, made):
    """(model, exported model, its directory)"""
    out = Path(made(request.param)) / "onnx"
    return load_model(out.parent), open_embedder(out), out


def test_embeds_as_the_model_does(both):
    model, exported, _ = both
    assert exported.config == model.config and exported.embedding_dim == 6
    assert (exported.window_samples, exported.window_frames) == (model.window_samples, model.window_frames)
    for batch_size in (1, 4):
        assert relative_difference(exported.embed_cover(wavs(), batch_size), model.embed_cover(wavs())) < 1e-5
        assert relative_difference(exported.embed_crops(wavs(), 3, batch_size), model.embed_crops(wavs(), 3)) < 1e-5
    for states, wanted in zip(exported.hidden_cover(wavs()), model.hidden_cover(wavs()), strict=True):
        for state, want in zip(states, wanted, strict=True):
            torch.testing.assert_close(state, want, rtol=1e-4, atol=1e-4)


def test_what_is_written(both):
    _, _, out = both
    assert sorted(path.name for path in out.iterdir()) == ["backend.onnx", "config.yaml", "encoder.onnx", "export.json"]
    info = json.loads((out / "export.json").read_text())
    assert info["opset"] == 20 == onnx.load(out / "encoder.onnx").opset_import[0].version
    assert set(info["parity"]) == {"cover", "cover_one_by_one", "crops"}
    assert 0 < max(info["parity"].values()) < 1e-4
    graphs = {name: onnx.load(out / f"{name}.onnx").graph for name in ("encoder", "backend")}
    sizes = {n: [d.dim_param or d.dim_value for d in g.input[0].type.tensor_type.shape.dim] for n, g in graphs.items()}
    assert sizes == {"encoder": ["batch", 8000], "backend": ["batch", "frames", 16]}
    assert not any(node.metadata_props for graph in graphs.values() for node in graph.node)
    assert not any(node.op_type == "STFT" for node in graphs["encoder"].node)


def test_log_mel_as_a_convolution():
    """No further from the exact spectrum, in float64, than torch's own."""
    torch.manual_seed(33)
    wav = torch.randn(2, 16_000) * 10 ** torch.linspace(-4, 0, 16_000)
    plain = LogMel()
    exact = LogMel().double()
    spectrum = torch.stft(wav.double(), 400, 160, window=exact.window, return_complex=True)[..., :-1]
    log = (exact.filters.T @ spectrum.abs().square()).clamp(min=1e-10).log10()
    exact = (torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0
    error = (_GraphLogMel(plain)(wav) - exact).abs().max()
    assert error < 1e-3 and error < 3 * (plain(wav) - exact).abs().max()


@pytest.fixture(scope="module")
def small(made):
    return made("cycle_mlp")


@pytest.fixture(scope="module")
def small_onnx(small):
    return f"{small}/onnx"


@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_int8(small, small_onnx, corpus, tmp_path, how):
    data = corpus.train if how == "static" else None
    info = export(small_onnx, str(tmp_path / "int8"), quantization=how, calibration_data=data)
    assert info.precision == "int8" and info.details["quantization"] == how
    assert info.details["calibration_windows"] == (16 if how == "static" else 0)
    assert info.parity["int8_mean_cosine"] > 0.99 and info.parity["cover"] < 1e-4
    model, exported = load_model(small), open_embedder(tmp_path / "int8")
    cosines = torch.cosine_similarity(exported.embed_cover(wavs()), model.embed_cover(wavs()))
    assert cosines.min() > 0.95 and cosines.max() < 1  # it is not float32
    # alone or among louder ones, an utterance is the same
    quiet = [0.01 * wavs()[-1], *wavs(), 0.1 * wavs()[0]]
    together, alone = exported.embed_cover(quiet, 8), torch.cat([exported.embed_cover([wav], 1) for wav in quiet])
    assert relative_difference(together, alone) < 1e-5
    together, alone = exported.embed_crops(quiet, 3, 8), torch.cat([exported.embed_crops([wav], 3, 1) for wav in quiet])
    assert relative_difference(together, alone) < 1e-5
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8" / "encoder.onnx").graph.node}
    assert ("DynamicQuantizeLinear" in kinds) == (how == "dynamic")
    assert ("QuantizeLinear" in kinds) == (how == "static")
    assert 0 <= eer(exported, corpus.valid, corpus.trials) <= 1


def test_rerun_and_replacement(small_onnx, tmp_path):
    out = tmp_path / "int8"

    def made(**options):
        export(small_onnx, str(out), quantization="dynamic", **options)
        return (out / "encoder.onnx").stat().st_mtime_ns

    before = made()
    assert made() == before != made(seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["int8"]


def test_int8_of_the_model_itself(small, small_onnx, tmp_path):
    """The same as of its float32 export, which cannot be exported again."""
    export(small, str(tmp_path / "a"), quantization="dynamic")
    export(small_onnx, str(tmp_path / "b"), quantization="dynamic")
    rows = [open_embedder(tmp_path / name).embed_cover(wavs()) for name in "ab"]
    assert torch.equal(*rows)
    for source, how in ((small_onnx, None), (tmp_path / "a", "dynamic")):
        with pytest.raises(ModelError, match="exported already"):
            export(str(source), str(tmp_path / "c"), quantization=how)


def test_a_difference_is_refused(small, small_onnx, tmp_path, monkeypatch):
    """Graphs one of whose biases is another: nothing appears."""

    def write_graphs(_, encoder_file, backend_file):
        shutil.copyfile(f"{small_onnx}/encoder.onnx", encoder_file)
        graph = onnx.load(f"{small_onnx}/backend.onnx")
        [bias] = (item for item in graph.graph.initializer if item.name == "backend.linear.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
        onnx.save(graph, backend_file)

    monkeypatch.setattr(module, "write_graphs", write_graphs)
    with pytest.raises(ModelError, match="other embeddings than the model; nothing is written; found cover [0-9]"):
        export(small, str(tmp_path / "onnx"))
    assert not list(tmp_path.iterdir())


def test_int8_far_away_is_refused(small_onnx, tmp_path, monkeypatch):
    def quantize(source, target, how, feeds):
        graph = onnx.load(source)
        for item in graph.graph.initializer:
            array = onnx.numpy_helper.to_array(item)
            if array.dtype == np.float32:
                item.CopyFrom(onnx.numpy_helper.from_array(-array, item.name))
        onnx.save(graph, target)

    monkeypatch.setattr(module, "quantize", quantize)
    with pytest.raises(ModelError, match="int8 embeddings are not those of the model"):
        export(small_onnx, str(tmp_path / "onnx"), quantization="dynamic")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(small, corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work\n")
    with pytest.raises(DataError, match="OUT_DIR holds something else"):
        export(small, str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").exists()
    with pytest.raises(ConfigError, match="go together"):
        export(small, str(tmp_path / "onnx"), quantization="static")
    with pytest.raises(ModelError, match="not a model directory"):
        export(corpus.train, str(tmp_path / "onnx"))


def test_nothing_of_others_is_overwritten(small_onnx, tmp_path):
    """OUT_DIR may be neither the model nor where it lies, nor may files go that were put beside an earlier export."""
    out, place = tmp_path / "int8", shutil.copytree(small_onnx, tmp_path / "model")
    for target in (place, tmp_path):
        with pytest.raises(DataError, match="OUT_DIR holds MODEL_DIR, or is it"):
            export(str(place), str(target), quantization="dynamic")
    out.mkdir()  # empty: free
    export(small_onnx, str(out), quantization="dynamic")
    (out / "benchmark.json").write_text("{}")  # as benchmark --save-beside leaves it
    (out / "thesis.txt").write_text("years of work\n")
    export(small_onnx, str(out), quantization="dynamic")  # there already
    with pytest.raises(DataError, match=r"holds other files than an export's; found thesis.txt\. To mend: move them"):
        export(small_onnx, str(out), quantization="dynamic", seed=1)
    assert (out / "thesis.txt").read_text() == "years of work\n"
    (out / "thesis.txt").unlink()
    export(small_onnx, str(out), quantization="dynamic", seed=1)
    assert not (out / "benchmark.json").exists()  # it was of another model


def test_a_teacher(wavlm_dir, tmp_path):
    config = ModelConfig("teacher", 0.5, {"name": "linear"}, teacher={"name": "wavlm", "source": wavlm_dir})
    save_model(build_model(config), tmp_path / "teacher")
    export(str(tmp_path / "teacher"), str(tmp_path / "onnx"))
    model, exported = load_model(tmp_path / "teacher"), open_embedder(tmp_path / "onnx")
    assert relative_difference(exported.embed_cover(wavs()), model.embed_cover(wavs())) < 1e-4
