"""Checkpoints in others' layouts, made here: weights find their places, and the model computes what theirs would."""

from __future__ import annotations

import copy
import doctest
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from safetensors.torch import save_file

from svtk.cli.main import svtk as cli
from svtk.errors import ConfigError, ModelError, SvtkError
from svtk.models import import_checkpoint as module
from svtk.models.import_checkpoint import import_checkpoint
from svtk.models.speaker_model import StudentSpec, build_model, load_model

T, H, D, G, CONV = 24, 16, 8, 2, 6  # frames, width, width of a group, groups, channels of the frontend
C, A, ATT, SCALE, SE, E, L = 8, 12, 5, 4, 3, 6, 2  # the classifier's, and the number of blocks
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


def draw(shapes):
    torch.manual_seed(3)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        else:
            fan = max(1, torch.Size(shape[1:]).numel())
            state[name] = (torch.rand(shape) + 0.5) if name.endswith("running_var") else torch.randn(shape) / fan**0.5
    return state


def linear(name, o, i, *kernel):
    return {f"{name}.weight": (o, i, *kernel), f"{name}.bias": (o,)}


def norm(name, dim):
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def batch_norm(name, dim):
    running = {f"{name}.running_mean": (dim,), f"{name}.running_var": (dim,), f"{name}.num_batches_tracked": ()}
    return {**norm(name, dim), **running}


def student_shapes():
    shapes = {f"conv_layers.{i}.conv.weight": (CONV, CONV if i else 1, k) for i, k in enumerate(KERNELS)}
    shapes |= norm("conv_layers.0.layer_norm", CONV) | norm("feat_projection.layer_norm", CONV) | norm("layer_norm", H)
    shapes |= linear("feat_projection.projection", H, CONV)
    for i in range(L):
        token, channel = f"layers.{i}.token_mixing", f"layers.{i}.channel_mixing"
        shapes |= norm(f"{token}.norm", H) | norm(f"{channel}.norm1", H)
        shapes |= linear(f"{token}.local_mix1", H, 1, 7) | linear(f"{token}.local_mix2", H, 1, 3)
        shapes |= linear(f"{token}.linear1", 4 * T, T) | linear(f"{token}.linear2", T, 4 * T)
        for up, down in (("fc1", "fc2"), ("fc3", "fc4")):
            shapes |= linear(f"{channel}.{up}", 4 * H, D, 1) | linear(f"{channel}.{down}", H, 4 * D, 1)
        shapes |= linear(f"{channel}.fc5", H, D, 3) | linear(f"{channel}.fc6", H, H, 1)
    return shapes


def classifier_shapes():
    width = C // SCALE
    shapes = {"w": (1, L + 1, 1, 1)} | linear("conv2", C, H, 5) | batch_norm("bn2", C)
    for i in (1, 2, 3):
        shapes |= linear(f"layer{i}.conv1", C, C, 1) | batch_norm(f"layer{i}.bn1", C)
        shapes |= linear(f"layer{i}.conv3", C, C, 1) | batch_norm(f"layer{i}.bn3", C)
        for j in range(SCALE - 1):
            shapes |= linear(f"layer{i}.convs.{j}", width, width, 3) | batch_norm(f"layer{i}.bns.{j}", width)
        shapes |= linear(f"layer{i}.se.se.1", SE, C, 1) | linear(f"layer{i}.se.se.3", C, SE, 1)
    shapes |= linear("layer4", A, 3 * C, 1) | linear("attention.0", ATT, 3 * A, 1) | batch_norm("attention.2", ATT)
    shapes |= linear("attention.4", A, ATT, 1) | batch_norm("bn5", 2 * A) | linear("fc6", E, 2 * A)
    return shapes | batch_norm("bn6", E)


def theirs(s, wav):
    """The embeddings that such weights stand for, written down weight by weight; wav (B, N) of one window."""

    def conv(name, x, **options):
        return F.conv1d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), **options)

    def layer_norm(name, x):
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])

    def bn(name, x):
        return F.batch_norm(x, *(s[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")))

    def full(name, x):
        return F.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])

    x = wav[:, None]
    for i, stride in enumerate(STRIDES):
        x = conv(f"conv_layers.{i}.conv", x, stride=stride)
        if i == 0:
            x = F.group_norm(x, CONV, s["conv_layers.0.layer_norm.weight"], s["conv_layers.0.layer_norm.bias"])
        x = F.gelu(x)
    x = full("feat_projection.projection", layer_norm("feat_projection.layer_norm", x.mT))
    hidden = [x]
    for i in range(L):
        n = f"layers.{i}.token_mixing"
        y = layer_norm(f"{n}.norm", x).mT
        local = F.gelu(conv(f"{n}.local_mix1", y, padding=3, groups=H))
        local = conv(f"{n}.local_mix2", local, padding=1, groups=H)
        x = x + (local + full(f"{n}.linear2", F.gelu(full(f"{n}.linear1", y)))).mT
        n = f"layers.{i}.channel_mixing"
        y = layer_norm(f"{n}.norm1", x).mT
        half = conv(f"{n}.fc2", F.gelu(conv(f"{n}.fc1", F.avg_pool1d(y, 2), groups=G)), groups=G)
        y = conv(f"{n}.fc4", F.gelu(conv(f"{n}.fc3", y, groups=G)), groups=G) + F.interpolate(half, T, mode="linear")
        x = x + conv(f"{n}.fc6", F.gelu(conv(f"{n}.fc5", y, padding=1, groups=G))).mT
        hidden.append(x)
    hidden[-1] = layer_norm("layer_norm", hidden[-1])
    x = F.instance_norm((torch.stack(hidden, 1) * s["w"]).sum(1).mT)
    x = bn("bn2", conv("conv2", x, padding=2).relu())
    outputs = []
    for i, dilation in ((1, 2), (2, 3), (3, 4)):
        given = x + sum(outputs)
        parts, done = bn(f"layer{i}.bn1", conv(f"layer{i}.conv1", given).relu()).split(C // SCALE, 1), []
        for j in range(SCALE - 1):
            y = parts[j] + (done[-1] if done else 0)
            done.append(
                bn(f"layer{i}.bns.{j}", conv(f"layer{i}.convs.{j}", y, padding=dilation, dilation=dilation).relu())
            )
        y = bn(f"layer{i}.bn3", conv(f"layer{i}.conv3", torch.cat([*done, parts[-1]], 1)).relu())
        gate = conv(f"layer{i}.se.se.3", conv(f"layer{i}.se.se.1", y.mean(2, keepdim=True)).relu()).sigmoid()
        outputs.append(y * gate + given)
    x = conv("layer4", torch.cat(outputs, 1)).relu()
    context = [x, x.mean(2, keepdim=True).expand_as(x), x.var(2, keepdim=True).clamp(1e-4).sqrt().expand_as(x)]
    weights = bn("attention.2", conv("attention.0", torch.cat(context, 1)).relu()).tanh()
    weights = conv("attention.4", weights).softmax(2)
    mean = (x * weights).sum(2)
    pooled = torch.cat([mean, ((x**2 * weights).sum(2) - mean**2).clamp(1e-4).sqrt()], 1)
    return bn("bn6", full("fc6", bn("bn5", pooled)))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """What the authors release: two state dicts, and a Lightning checkpoint of both."""
    root = tmp_path_factory.mktemp("released")
    student, classifier = draw(student_shapes()), draw(classifier_shapes())
    torch.save(student, root / "student_model.pt")
    torch.save(classifier, root / "classifier.pt")
    both = {f"student_model.{k}": v for k, v in student.items()} | {f"classifier.{k}": v for k, v in classifier.items()}
    torch.save({"epoch": 3, "state_dict": {**both, "criterion_sv.weight": torch.zeros(3, E)}}, root / "both.ckpt")
    return root


def embedding_of(directory, wav):
    with torch.inference_mode():
        return load_model(directory)(wav)[1]


@pytest.mark.parametrize("names", [["student_model.pt", "classifier.pt"], ["both.ckpt"]])
def test_the_authors_models_compute_what_they_did(released, tmp_path, names):
    wav = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    done = import_checkpoint([released / name for name in names], tmp_path / "model")
    assert (done.layout, done.has_backend) == ("sv_mixer_hub", True)
    weights = torch.load(released / "student_model.pt") | torch.load(released / "classifier.pt")
    expected = theirs(weights, wav)
    torch.testing.assert_close(embedding_of(tmp_path / "model", wav), expected, rtol=1e-4, atol=1e-5)
    report = done.report
    assert len(report.matched) + len(report.reshaped) == len(weights)
    assert len(report.reshaped) == 1 + L * 9 and report.missing == report.unknown == []
    assert report.ignored == (["criterion_sv.weight"] if names == ["both.ckpt"] else [])
    model = load_model(tmp_path / "model")
    assert (model.config.window, model.window_frames, model.embedding_dim) == (0.5, T, E)


def test_the_released_size():
    """What the authors say of their small model: 33.0 M parameters and 11.9 GMACs for 3 s."""
    from svtk.deploy.describe import describe

    size = describe(build_model(StudentSpec(backend={"name": "ecapa_dense"}).model_config()))
    assert round(size["parameters"] / 1e6, 1) == 33.0 and round(size["macs"] / 1e9, 1) == 11.9


def test_every_weight_counts(released, tmp_path):
    """The comparison above would notice any two weights that changed places."""
    wav = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    weights = torch.load(released / "student_model.pt") | torch.load(released / "classifier.pt")
    expected = theirs(weights, wav)
    moved = {"num_batches_tracked", "fc5.bias", "convs.0.bias"}
    for name in [n for n in weights if not any(n.endswith(end) for end in moved)][::9]:
        other = copy.copy(weights)
        other[name] = weights[name].flip(0) + 0.1 * torch.arange(weights[name].numel()).reshape(weights[name].shape)
        assert not torch.allclose(theirs(other, wav), expected, rtol=1e-4, atol=1e-5), name


def test_an_encoder_alone_gets_an_untrained_backend(released, tmp_path):
    done = CliRunner().invoke(cli, ["import-model", str(released / "student_model.pt"), str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    assert load_model(tmp_path / "model").config.backend["name"] == "linear"
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["matched", str(len(student_shapes()) - 9 * L)],
        ["reshaped", str(9 * L)],
        ["ignored", "0"],
        ["unknown", "0"],
        ["missing", "0"],
    ]
    assert (tmp_path / "model" / "provenance.json").exists() and not list(tmp_path.glob("*.part"))


def test_a_name_map_of_ones_own(released, tmp_path):
    student = torch.load(released / "student_model.pt")
    student = {name.replace("feat_projection.projection", "proj"): value for name, value in student.items()}
    student["ema"] = torch.zeros(2)
    save_file(student, tmp_path / "renamed.safetensors")
    with pytest.raises(ModelError, match=r"no weight for 'encoder.frontend.projection.weight'.*--name-map"):
        import_checkpoint([tmp_path / "renamed.safetensors"], tmp_path / "model")
    rules = r"{rules: [{from: 'proj\.(\w+)', to: 'encoder.frontend.projection.\1'}, {from: ema, to: null}]}"
    (tmp_path / "names.yaml").write_text(rules)
    report = import_checkpoint([tmp_path / "renamed.safetensors"], tmp_path / "model", tmp_path / "names.yaml").report
    assert report.ignored == ["ema"] and report.unknown == []


def test_what_is_missing_is_told_and_leaves_nothing(released, tmp_path):
    student = torch.load(released / "student_model.pt")
    del student["layer_norm.bias"]
    torch.save({**student, "what.is.this": torch.zeros(1)}, tmp_path / "part.pt")
    done = CliRunner().invoke(cli, ["import-model", str(tmp_path / "part.pt"), str(tmp_path / "model")])
    assert isinstance(done.exception, ModelError)
    assert "1 weight(s) of the model are not in the checkpoint: 'encoder.student.norm.bias'" in str(done.exception)
    assert "  what.is.this\n" in done.stdout and "  encoder.student.norm.bias\n" in done.stdout
    assert not list(tmp_path.glob("model*"))


class NotAWeight:
    pass


def test_checkpoints_that_are_none(released, tmp_path):
    torch.save({"a": NotAWeight()}, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("text")
    torch.save([1], tmp_path / "list.pt")
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    student = torch.load(released / "student_model.pt")
    student["layers.0.channel_mixing.fc1.weight"] = torch.zeros(4 * H, D + 1, 1)
    torch.save(student, tmp_path / "misfit.pt")
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    for names, out, message in [
        (["code.pt"], "x", "holds more than weights, which is not loaded"),
        (["text.pt"], "x", "not a checkpoint|holds more than weights"),
        (["list.pt"], "x", "not a checkpoint; found list"),
        (["empty.pt"], "x", "no weights in it; found epoch"),
        (["other.pt"], "x", "no weight for 'encoder"),
        (["absent.pt"], "x", "absent.pt: no such file"),
        (["misfit.pt"], "x", r"fc1.weight' does not fit .*found shape \(64, 9, 1\); expected \(2, 8, 32\)"),
        ([released / "student_model.pt"] * 2, "x", "stands in several checkpoints"),
        ([released / "student_model.pt"], "full", "there is something already"),
    ]:
        with pytest.raises(ModelError, match=message):
            import_checkpoint([tmp_path / name for name in names], tmp_path / out)
        assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(
    "text", ["{rules: [{from: '('}]}", "{rules: [{from: a, to: '\\1'}]}", "{rules: [{from: a, to: b, how: c}]}", "{}"]
)
def test_name_maps_that_are_none(released, tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"rule 1 is wrong|missing key 'rules'"):
        import_checkpoint([released / "student_model.pt"], tmp_path / "x", tmp_path / "names.yaml")


def in_unilm_names(state):
    """Hugging Face's names as unilm's, by replacements that are independent of the map."""
    replaced = {}
    for name, value in state.items():
        for old, new in [
            ("masked_spec_embed", "mask_emb"),
            ("feature_projection.layer_norm", "layer_norm"),
            ("feature_projection.projection", "post_extract_proj"),
            ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
            ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
            ("pos_conv_embed.conv.bias", "pos_conv.0.bias"),
            ("attention.gru_rel_pos_const", "self_attn.grep_a"),
            ("attention.gru_rel_pos_linear", "self_attn.grep_linear"),
            ("attention.rel_attn_embed", "self_attn.relative_attention_bias"),
            ("attention.", "self_attn."),
            ("feed_forward.intermediate_dense", "fc1"),
            ("feed_forward.output_dense", "fc2"),
        ]:
            name = name.replace(old, new)
        if ".conv_layers." in name:
            norm = ".2.1." if state_has_layer_norms(state) else ".2."
            name = name.replace(".conv.", ".0.").replace(".layer_norm.", norm)
        elif name.startswith("encoder.layers.") and ".layer_norm." in name:
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        replaced[name] = value
    return replaced


def state_has_layer_norms(state):
    return "feature_extractor.conv_layers.1.layer_norm.weight" in state


@pytest.mark.parametrize("large", [True, False])
def test_wavlm_of_unilm(large, tmp_path):
    """A Large-like and a Base-like one: layer norms first or last, layer or group norm in the convolutions."""
    from transformers import WavLMConfig, WavLMModel

    from svtk.models.teacher import load_teacher

    torch.manual_seed(8)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    sizes |= {"conv_dim": [6] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 2}
    sizes |= {"num_buckets": 40, "max_bucket_distance": 100, "do_stable_layer_norm": large}
    original = WavLMModel(WavLMConfig(**sizes, feat_extract_norm="layer" if large else "group")).eval()
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    cfg = {
        **{"extractor_mode": "layer_norm" if large else "default", "encoder_layers": 2, "encoder_embed_dim": 12},
        **{"encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2, "layer_norm_first": large, "normalize": large},
        **{"conv_feature_layers": "[(6,10,5)] + [(6,3,2)] * 4 + [(6,2,2)] * 2", "conv_pos": 32, "conv_pos_groups": 2},
        **{"num_buckets": 40, "max_distance": 100, "relative_position_embedding": True, "gru_rel_pos": True},
    }
    weights = in_unilm_names(original.state_dict())
    assert {"layer_norm.weight", "encoder.layers.1.self_attn.grep_a", "encoder.pos_conv.0.weight_v"} <= set(weights)
    assert (
        "feature_extractor.conv_layers.0.2.1.weight" if large else "feature_extractor.conv_layers.0.2.bias"
    ) in weights
    torch.save({"cfg": cfg, "model": {**weights, "final_proj.bias": torch.zeros(2)}}, tmp_path / "WavLM.pt")
    done = import_checkpoint([tmp_path / "WavLM.pt"], tmp_path / "wavlm")
    assert done.layout == "wavlm_unilm" and len(done.report.matched) == len(weights)
    assert done.report.ignored == ["final_proj.bias"] and done.report.unknown == done.report.missing == []
    teacher = load_teacher(tmp_path / "wavlm")
    assert teacher.normalize_wav is large
    wav = torch.randn(1, 8000)
    given = (wav - wav.mean()) / wav.var(correction=0).sqrt() if large else wav
    with torch.inference_mode():
        expected = original(given).last_hidden_state
        torch.testing.assert_close(teacher(wav)[-1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gru_rel_pos": False}, "wrong value for 'cfg.gru_rel_pos'; found False"),
        ({"encoder_layers": "two"}, "wrong value for 'cfg.encoder_layers'; found 'two'"),
        ({"conv_feature_layers": "__import__('os').system('true')"}, "cfg is not WavLM's"),
        ({"conv_feature_layers": "[(1,1,1)] * 10**9"}, "cfg is not WavLM's"),
    ],
)
def test_configurations_that_are_not_wavlms(change, message, tmp_path):
    torch.save({"cfg": change, "model": {"mask_emb": torch.zeros(1)}}, tmp_path / "wrong.pt")
    with pytest.raises(SvtkError, match=message):
        import_checkpoint([tmp_path / "wrong.pt"], tmp_path / "x")


def test_examples_and_the_maps_are_in_the_package():
    assert doctest.testmod(module).failed == 0
    assert {path.name for path in (Path(module.__file__).parent / "name_maps").iterdir()} == {
        "sv_mixer_hub.yaml",
        "wavlm_unilm.yaml",
    }
