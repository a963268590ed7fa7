"""Options that change how fast or with how much memory a model is trained: what they leave as it is."""

from __future__ import annotations

import pytest
import torch
from torch.utils import checkpoint

from svtk.errors import ConfigError
from svtk.train import objective
from svtk.train.brain import SpeakerBrain


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


def test_activation_checkpointing_changes_nothing(whole, distil, tmp_path, monkeypatch):
    """Dropout within a block is drawn again as it was."""
    calls, recompute = [], checkpoint.checkpoint
    monkeypatch.setattr(objective, "checkpoint", lambda *a, **k: calls.append(a) or recompute(*a, **k))
    distil(tmp_path / "m", "activation_checkpointing=true")
    assert len(calls) == 2 * 4 * 2  # blocks, steps, epochs; none in validation
    assert weights(tmp_path / "m") == weights(whole)


def test_activation_checkpointing_keeps_less(distil, tmp_path, monkeypatch):
    kept = []

    def count(self, batch, stage, forward=SpeakerBrain.compute_forward):
        total = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: total.append(x.numel()) or x, lambda x: x):
            losses = forward(self, batch, stage)
        kept.append(sum(total))
        return losses

    monkeypatch.setattr(SpeakerBrain, "compute_forward", count)
    for value in ("true", "false"):
        distil(tmp_path / value, f"activation_checkpointing={value}", "max_epochs=1", "student.num_layers=6")
    assert kept[0] < 0.7 * kept[4]


def test_nothing_to_recompute(run_of, student_dir, training, backend_spec, tmp_path):
    from svtk.train.backend import train_backend

    config = {**training, "backend": backend_spec, "activation_checkpointing": True}
    with pytest.raises(ConfigError, match="is for the blocks of a student that learns. To mend: set it to false"):
        train_backend(config, run_of(tmp_path / "m"), student=student_dir)


def test_compiled_it_is_the_same_model(whole, distil, tmp_path, monkeypatch):
    """Through a compiler that compiles nothing; what is saved has the names it had."""
    seen, compiler = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: seen.append(a) or compiler(*a, **k, backend="eager"))
    distil(tmp_path / "m", "compile=true")
    assert len(seen) == 2  # the model and the teacher
    assert weights(tmp_path / "m") == weights(whole)


def test_what_changes_only_how_it_runs_may_change_on_a_resume(whole, distil, caplog):
    with caplog.at_level("INFO"):
        distil(whole, "grad_accumulation=2", "activation_checkpointing=true", "compile=true", "nonfinite_patience=3")
    assert "already trained with these settings" in caplog.text


def test_fp16_needs_a_gpu(distil, tmp_path):
    with pytest.raises(ConfigError, match="fp16 needs a GPU; found --device cpu. To mend: set precision=bf16"):
        distil(tmp_path / "m", "precision=fp16")


def test_the_fused_step_leaves_out_what_is_not_finite():
    """As it is used on GPUs: told by a number on the device, it leaves weights and counts as they were."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    for spoilt in (False, True, False):
        weight.grad = torch.full((3,), float("nan") if spoilt else 1.0)
        before = weight.detach().clone()
        optimizer.found_inf = torch.tensor(float(spoilt))
        optimizer.step()
        assert torch.equal(weight, before) == spoilt and weight.isfinite().all()
    assert optimizer.state[weight]["step"] == 2


@pytest.mark.parametrize("key", ["grad_accumulation=0", "nonfinite_patience=-1"])
def test_wrong_values(distil, tmp_path, key):
    with pytest.raises(ConfigError, match=key.split("=")[0]):
        distil(tmp_path / "m", key)


def test_clipping_bounds_the_step(distil, tmp_path, monkeypatch):
    norms, step = [], torch.optim.AdamW.step

    def watched(self, *args):
        norms.append(torch.stack([p.grad.norm() for p in self.param_groups[0]["params"] if p.grad is not None]).norm())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    distil(tmp_path / "m", "max_grad_norm=0.01", "max_epochs=1")
    assert len(norms) == 4 and all(norm == pytest.approx(0.01, rel=1e-3) for norm in norms)
