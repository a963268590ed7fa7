"""Small losses by name, and hidden states for them."""

from __future__ import annotations

import pytest
import torch

from svtk.registry import configure


@pytest.fixture
def kd_loss():
    """A KD loss: a student of 3 hidden states of width 4, a teacher of 5, unless told otherwise."""

    def build(name, student_dim=4, teacher_dim=4, num_student_hidden=3, num_teacher_hidden=5, **options):
        torch.manual_seed(3)
        return configure("losses", {"name": name, **options}).build(
            student_dim=student_dim,
            teacher_dim=teacher_dim,
            num_student_hidden=num_student_hidden,
            num_teacher_hidden=num_teacher_hidden,
        )

    return build


@pytest.fixture
def sv_loss():
    """An SV loss over embeddings of 6 and 9 speakers, unless told otherwise."""

    def build(name, embedding_dim=6, num_spks=9, **options):
        torch.manual_seed(5)
        return configure("losses", {"name": name, **options}).build(embedding_dim=embedding_dim, num_spks=num_spks)

    return build


@pytest.fixture
def states():
    """*count* hidden states (2, frames, dim) in float64."""

    def make(count, dim=4, frames=6, requires_grad=False):
        return [torch.randn(2, frames, dim, dtype=torch.float64, requires_grad=requires_grad) for _ in range(count)]

    return make
