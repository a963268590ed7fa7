"""Every KD loss against a slow, literal transcription of its formula; and what all of them have in common."""

from __future__ import annotations

import math

import pytest
import torch

from svtk.errors import ConfigError

NAMES = ["hidden_mse", "cosine", "distilhubert", "fithubert", "star"]
LAYERS = {"distilhubert": {"teacher_layers": [2, -1]}}


def cos(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def linear(module, frame):
    rows = zip(module.weight.tolist(), module.bias.tolist(), strict=True)
    return [sum(w * x for w, x in zip(row, frame, strict=True)) + b for row, b in rows]


def gelu(frame):
    return [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in frame]


def frames(*layers):
    """The frames of several states (B, T, H) side by side, as lists of numbers."""
    for utterances in zip(*(layer.tolist() for layer in layers), strict=True):
        yield from zip(*utterances, strict=True)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def mse(mine, theirs):
    return mean((x - y) ** 2 for x, y in zip(mine, theirs, strict=True))


def needed(loss, teacher):
    """Only what the loss says it needs, so that anything more would be a KeyError."""
    return {layer: teacher[layer] for layer in loss.teacher_layers}


@pytest.mark.parametrize("teacher_dim", [4, 7])
def test_cosine(kd_loss, states, teacher_dim):
    loss = kd_loss("cosine", teacher_dim=teacher_dim, student_layer=1, teacher_layer=-2).double()
    student, teacher = states(3), states(5, teacher_dim)
    assert loss.teacher_layers == [3]
    project = (lambda frame: linear(loss.projection, frame)) if teacher_dim == 7 else list
    expected = mean(1 - cos(project(s), h) for s, h in frames(student[1], teacher[3]))
    assert loss(student, needed(loss, teacher)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weight", [1.0, 0.0, 2.5])
@pytest.mark.parametrize("teacher_dim", [4, 7])
def test_distilhubert(kd_loss, states, teacher_dim, weight):
    loss = kd_loss("distilhubert", teacher_dim=teacher_dim, teacher_layers=[1, 4], cosine_weight=weight).double()
    student, teacher = states(3), states(5, teacher_dim)
    assert loss.teacher_layers == [1, 4]
    layers = []
    for head, layer in zip(loss.heads, (1, 4), strict=True):
        terms = []
        for s, h in frames(student[2], teacher[layer]):
            guess = linear(head[2], gelu(linear(head[0], s)))
            l1 = sum(abs(x - y) for x, y in zip(guess, h, strict=True)) / teacher_dim
            terms.append(l1 - weight * math.log(1 / (1 + math.exp(-cos(guess, h)))))
        layers.append(mean(terms))
    assert loss(student, needed(loss, teacher)).item() == pytest.approx(mean(layers), abs=1e-12)


@pytest.mark.parametrize(("options", "layers"), [({}, [2, 4]), ({"teacher_layers": [0, -2]}, [0, 3])])
@pytest.mark.parametrize("teacher_dim", [4, 7])
def test_fithubert(kd_loss, states, teacher_dim, options, layers):
    loss = kd_loss("fithubert", teacher_dim=teacher_dim, hint_weight=0.3, **options).double()
    student, teacher = states(3), states(5, teacher_dim)
    assert loss.layer_map == layers
    hint, last = (
        mean(mse(linear(project, s), h) for s, h in frames(state, teacher[layer]))
        for project, state, layer in zip(loss.projections, student[1:], layers, strict=True)
    )
    assert loss(student, needed(loss, teacher)).item() == pytest.approx(last + 0.3 * hint, abs=1e-12)


def gram(left, right, unit):
    """T × T inner products of the frames of one utterance, divided by their width, or cosines."""
    scale = (lambda a, b: cos(a, b)) if unit else (lambda a, b: sum(map(math.prod, zip(a, b, strict=True))) / len(a))
    return [scale(a, b) for a in left for b in right]


@pytest.mark.parametrize("normalize", ["none", "frame"])
@pytest.mark.parametrize(("layer_wise", "intra_layer"), [(1.0, 1.0), (0.5, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize(("options", "layers"), [({}, [2, 4]), ({"teacher_layers": [1, 3]}, [1, 3])])
def test_star(kd_loss, states, layer_wise, intra_layer, normalize, options, layers):
    loss = kd_loss("star", 4, 7, layer_wise=layer_wise, intra_layer=intra_layer, normalize=normalize, **options)
    student, teacher = states(3), states(5, 7)
    assert loss.layer_map == layers and list(loss.parameters()) == []
    assert loss.teacher_layers == ([0, *layers] if intra_layer else layers)
    unit, below = normalize == "frame", [0, *layers]
    blocks = []
    for block in (1, 2):
        inside, between = [], []
        for b in range(2):
            s, s_in = student[block][b].tolist(), student[block - 1][b].tolist()
            h, h_in = teacher[below[block]][b].tolist(), teacher[below[block - 1]][b].tolist()
            inside.append(mse(gram(s, s, unit), gram(h, h, unit)))
            between.append(mse(gram(s_in, s, unit), gram(h_in, h, unit)))
        blocks.append(layer_wise * mean(inside) + intra_layer * mean(between))
    assert loss(student, needed(loss, teacher)).item() == pytest.approx(mean(blocks), abs=1e-12)


def test_star_compares_relations_not_values(kd_loss, states):
    """Another basis of the channels is the same temporal relation; another frame is not."""
    loss, student = kd_loss("star"), states(3)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    teacher = {0: student[0] @ turn, 2: student[1] @ turn, 4: student[2] @ turn}
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-20)
    teacher[4] = teacher[4].roll(1, dims=1)
    assert loss(student, teacher).item() > 0.01


# What all have in common


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("teacher_dim", [4, 7])
def test_gradients(kd_loss, states, name, teacher_dim):
    """They reach the student and the learned parts, and never the teacher."""
    loss = kd_loss(name, teacher_dim=teacher_dim, **LAYERS.get(name, {})).double()
    teacher = needed(loss, states(5, teacher_dim, frames=3))
    student = states(3, frames=3, requires_grad=True)
    learned = list(loss.parameters())
    assert torch.autograd.gradcheck(lambda *inputs: loss(inputs[:3], teacher), (*student, *learned))
    loss(student, teacher).backward()
    assert student[-1].grad.any() and all(parameter.grad.any() for parameter in learned)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_states(kd_loss, states, name, dtype):
    """As a model under autocast gives them; the teacher's may be float32."""
    loss = kd_loss(name, teacher_dim=7, **LAYERS.get(name, {}))
    teacher = {layer: (3 * state).float() for layer, state in needed(loss, states(5, 7)).items()}
    student = [(3 * state).to(dtype).requires_grad_() for state in states(3)]
    with torch.autocast("cpu", dtype):
        value = loss(student, teacher)
    expected = loss([state.float() for state in student], teacher)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=0.02)
    value.backward()
    assert torch.isfinite(student[-1].grad).all()


def test_gram_matrices_of_half_precision_states_do_not_overflow(kd_loss):
    loss, huge = kd_loss("star"), [torch.full((1, 3, 4), 3e3, dtype=torch.float16)] * 3
    with torch.autocast("cpu", torch.float16):
        value = loss(huge, {layer: torch.zeros(1, 3, 4) for layer in loss.teacher_layers})
    assert value.item() == pytest.approx(2 * 9e6**2)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(kd_loss, states, name):
    """A free student comes close to the least that the loss can be."""
    loss = kd_loss(name, **LAYERS.get(name, {})).double()
    student, teacher = states(3, requires_grad=True), needed(loss, states(5))
    optimizer = torch.optim.Adam([*student, *loss.parameters()], lr=0.02)
    least = -math.log(1 / (1 + math.exp(-1))) if name == "distilhubert" else 0.0  # -log σ(1)
    first = loss(student, teacher).item() - least
    for _ in range(300):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert 0 <= value.item() - least < 0.2 * first


# Layers


@pytest.mark.parametrize("name", ["fithubert", "star"])
@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        (5, 24, [5, 10, 14, 19, 24]),
        (12, 12, list(range(1, 13))),
        (3, 12, [4, 8, 12]),
        (17, 12, [1, 1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 11, 12]),
        (1, 24, [24]),
    ],
)
def test_layers_are_spread_evenly(kd_loss, name, student, teacher, layers):
    loss = kd_loss(name, num_student_hidden=student + 1, num_teacher_hidden=teacher + 1)
    assert loss.layer_map == layers
    assert loss.teacher_layers == sorted({*layers, *([0] if name == "star" else [])})


@pytest.mark.parametrize(("num_hidden", "layers"), [(25, [8, 16, 24]), (13, [4, 8, 12]), (7, [2, 4, 6]), (3, [1, 2])])
def test_distilhuberts_layers_are_spread_evenly(kd_loss, num_hidden, layers):
    """Of WavLM-Large they are the paper's."""
    assert kd_loss("distilhubert", num_teacher_hidden=num_hidden).teacher_layers == layers


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosine", {"teacher_layer": 5}, "no such layer in 'teacher_layer'; found 5; expected -5 ... 4"),
        ("cosine", {"student_layer": -4}, "no such layer in 'student_layer'; found -4; expected -3 ... 2"),
        ("distilhubert", {"teacher_layers": [8]}, "found 8; expected -5 ... 4. To mend: leave it out for [1, 3, 4]"),
        ("distilhubert", {"teacher_layers": []}, "teacher_layers must name at least one layer"),
        ("distilhubert", {"teacher_layers": [1, 1]}, "none twice"),
        ("distilhubert", {"cosine_weight": -1}, "cosine_weight must not be negative"),
        ("fithubert", {"teacher_layers": [1]}, "found 1 layer(s); expected one for each of its 2 block(s)"),
        ("fithubert", {"teacher_layers": [1, 5]}, "no such layer in 'teacher_layers'; found 5; expected -5 ... 4"),
        ("fithubert", {"teacher_layers": 3}, "wrong value for 'losses.teacher_layers'"),
        ("fithubert", {"hint_weight": -0.1}, "hint_weight must not be negative"),
        ("star", {"teacher_layers": [1, 2, 3]}, "found 3 layer(s)"),
        ("star", {"layer_wise": 0, "intra_layer": 0}, "not both 0"),
        ("star", {"layer_wise": -1}, "must not be negative"),
        ("star", {"normalize": "dimension"}, "expected one of 'none', 'frame'"),
    ],
)
def test_wrong_options(kd_loss, name, options, message):
    with pytest.raises(ConfigError) as raised:
        kd_loss(name, **options)
    assert message in str(raised.value)
