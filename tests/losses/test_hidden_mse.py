from __future__ import annotations

import numpy as np
import pytest
import torch

from svtk.errors import ConfigError
from svtk.registry import configure


def build(student_dim=4, teacher_dim=4, num_student_hidden=3, num_teacher_hidden=5, statistics=None, **options):
    component = configure("losses", {"name": "hidden_mse", **options})
    return component.build(
        student_dim=student_dim,
        teacher_dim=teacher_dim,
        num_student_hidden=num_student_hidden,
        num_teacher_hidden=num_teacher_hidden,
        teacher_statistics=statistics,
    )


def states(count, dim=4, frames=6):
    return [torch.randn(2, frames, dim) for _ in range(count)]


def test_last_hidden_states_as_they_are():
    loss, student, teacher = build(), states(3), states(5)
    assert loss.teacher_layers == [4]
    expected = sum(
        (student[2][b, t, h] - teacher[4][b, t, h]) ** 2 for b in range(2) for t in range(6) for h in range(4)
    )
    assert loss(student, {4: teacher[4]}).item() == pytest.approx(expected.item() / (2 * 6 * 4), rel=1e-5)
    assert list(loss.parameters()) == []


@pytest.mark.parametrize(("layer", "counted"), [(0, 0), (4, 4), (-1, 4), (-5, 0)])
def test_layers_of_the_teacher(layer, counted):
    assert build(teacher_layer=layer).teacher_layers == [counted]


@pytest.mark.parametrize(("layer", "counted"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_layers_of_the_student(layer, counted):
    student, teacher = states(3), states(5)
    expected = (student[counted] - teacher[4]).square().mean()
    torch.testing.assert_close(build(student_layer=layer)(student, {4: teacher[4]}), expected)


@pytest.mark.parametrize(
    "options", [{"teacher_layer": 5}, {"teacher_layer": -6}, {"student_layer": 3}, {"student_layer": -4}]
)
def test_a_layer_that_is_not_there(options):
    with pytest.raises(ConfigError, match=f"no such layer in '{next(iter(options))}'"):
        build(**options)


def test_unequal_widths_are_joined_by_a_learned_projection():
    loss, student, teacher = build(student_dim=4, teacher_dim=7), states(3), states(5, dim=7)
    value = loss(student, {4: teacher[4]})
    expected = (student[-1] @ loss.projection.weight.T + loss.projection.bias - teacher[4]).square().mean()
    torch.testing.assert_close(value, expected)
    value.backward()
    assert loss.projection.weight.grad.any()


def test_normalize_brings_each_dimension_to_one_scale():
    loss, student = build(normalize="dimension", num_teacher_hidden=1), states(3, frames=50)
    teacher = torch.randn(2, 50, 4) * torch.tensor([1e-2, 1.0, 1e2, 1e3]) + torch.tensor([0.0, 5.0, -1e3, 1.0])
    mean, var = teacher.mean((0, 1)), teacher.var((0, 1), correction=0)
    wanted = (teacher - mean) / (var + 1e-5).sqrt()
    torch.testing.assert_close(loss(student, {0: teacher}), (student[-1] - wanted).square().mean(), rtol=1e-4, atol=0)
    assert list(loss.parameters()) == []
    for _ in range(300):
        loss(student, {0: teacher})
    loss.eval()  # running statistics now, of which the variance is the unbiased one
    unbiased = (teacher - mean) / (var * 100 / 99 + 1e-5).sqrt()
    expected = (student[-1] - unbiased).square().mean()
    torch.testing.assert_close(loss(student, {0: teacher}), expected, rtol=1e-3, atol=0)


def test_no_gradient_reaches_the_teacher():
    teacher = torch.randn(2, 6, 4)
    student = [torch.randn(2, 6, 4, requires_grad=True) for _ in range(3)]
    build()(student, {4: teacher}).backward()
    assert student[2].grad.any() and student[0].grad is None


def test_half_precision_is_squared_in_float32():
    student, teacher = [torch.full((1, 2, 4), 300.0, dtype=torch.float16)] * 3, torch.zeros(1, 2, 4).half()
    assert build()(student, {4: teacher}).item() == 90_000.0


def test_dimensions_by_the_statistics_of_the_corpus():
    """Of the loss's layer; a crop counts the same beside any others, while it trains too."""
    mean, variance = np.arange(4.0), np.array([1.0, 4.0, 0.25, 9.0])
    asked = []
    loss = build(normalize="corpus", statistics=lambda layer: asked.append(layer) or (mean, variance)).train()
    student, teacher = states(3), states(5)
    wanted = (teacher[4] - torch.from_numpy(mean).float()) / torch.from_numpy(variance + 1e-5).float().sqrt()
    torch.testing.assert_close(loss(student, {4: teacher[4]}), (student[2] - wanted).square().mean())
    halves = [loss([x[i : i + 1] for x in student], {4: teacher[4][i : i + 1]}) for i in range(2)]
    torch.testing.assert_close(sum(halves) / 2, loss(student, {4: teacher[4]}))
    assert asked == [4]


def test_without_statistics_of_the_corpus():
    with pytest.raises(ConfigError, match="no statistics of the corpus; found normalize: corpus. To mend: give --targ"):
        build(normalize="corpus")
