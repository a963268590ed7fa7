"""KD losses between embeddings against slow, literal transcriptions of their formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from svtk.errors import ConfigError
from svtk.registry import configure


@pytest.fixture
def embedding_loss():
    def build(name, embedding_dim=4, teacher_embedding_dim=7, **options):
        torch.manual_seed(3)
        component = configure("losses", {"name": name, **options})
        return component.build(embedding_dim=embedding_dim, teacher_embedding_dim=teacher_embedding_dim)

    return build


def embeddings(size, dim, requires_grad=False):
    return (3 * torch.randn(size, dim, dtype=torch.float64)).requires_grad_(requires_grad)


def inner(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a):
    return [x / math.sqrt(inner(a, a)) for x in a]


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def huber(a, b):
    return 0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def relations(kind, rows):
    """What *kind* says of all pairs (or triplets) of different rows."""
    rows = [unit(row) for row in rows]
    if kind == "angle":
        return [inner(unit(minus(i, j)), unit(minus(k, j))) for i, j, k in itertools.permutations(rows, 3)]
    if kind == "cosine":
        return [inner(i, j) for i, j in itertools.permutations(rows, 2)]
    distances = [math.dist(i, j) for i, j in itertools.permutations(rows, 2)]
    return [distance / mean(distances) for distance in distances]


@pytest.mark.parametrize("teacher_dim", [4, 7])
def test_cosine(embedding_loss, teacher_dim):
    """A projection is learned between spaces of one dimension, too: they have no axes in common."""
    loss = embedding_loss("embedding_cosine", teacher_embedding_dim=teacher_dim).double()
    student, teacher = embeddings(5, 4), embeddings(5, teacher_dim)
    expected = []
    for e, t in zip(student.tolist(), teacher.tolist(), strict=True):
        rows = zip(loss.projection.weight.tolist(), loss.projection.bias.tolist(), strict=True)
        expected.append(1 - inner(unit([inner(w, e) + b for w, b in rows]), unit(t)))
    assert loss(student, teacher).item() == pytest.approx(mean(expected), abs=1e-12)


@pytest.mark.parametrize("relation", ["cosine", "distance", "angle"])
@pytest.mark.parametrize("size", [3, 6])
def test_relational(embedding_loss, relation, size):
    loss = embedding_loss("embedding_relational", relation=relation)
    student, teacher = embeddings(size, 4), embeddings(size, 7)
    compare = (lambda a, b: (a - b) ** 2) if relation == "cosine" else huber
    pairs = zip(relations(relation, student.tolist()), relations(relation, teacher.tolist()), strict=True)
    assert loss(student, teacher).item() == pytest.approx(mean(itertools.starmap(compare, pairs)), abs=1e-12)
    assert list(loss.parameters()) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("embedding_cosine", {}), *(("embedding_relational", {"relation": r}) for r in ("cosine", "distance", "angle"))],
)
def test_what_all_of_a_teachers_embeddings_share_can_be_left_out(embedding_loss, name, options):
    plain, center = (embedding_loss(name, center=center, **options).double() for center in (False, True))
    student, teacher = embeddings(6, 4), embeddings(6, 7)
    theirs = [minus(row, [mean(column) for column in zip(*teacher.tolist(), strict=True)]) for row in teacher.tolist()]
    expected = plain(student, torch.tensor(theirs, dtype=torch.float64)).item()
    for offset in (0.0, 5.0):
        assert center(student, teacher + offset).item() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ConfigError, match=f"{name} .*found [12] crop.*at least 3"):
        center(student[:2], teacher[:2])


@pytest.mark.parametrize("relation", ["cosine", "distance", "angle"])
def test_relations_know_no_axes_and_no_lengths(embedding_loss, relation):
    loss = embedding_loss("embedding_relational", relation=relation)
    student = embeddings(6, 4)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    teacher = torch.rand(6, 1, dtype=torch.float64).add(0.5) * student @ turn
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher.roll(1, dims=0)).item() > 0.01


EVERY = [
    ("embedding_cosine", {}),
    *(("embedding_relational", {"relation": relation}) for relation in ("cosine", "distance", "angle")),
]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_gradients(embedding_loss, name, options):
    loss = embedding_loss(name, **options).double()
    student, teacher = embeddings(4, 4, requires_grad=True), embeddings(4, 7)
    learned = list(loss.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: loss(x, teacher), (student, *learned))
    loss(student, teacher).backward()
    assert student.grad.any() and all(parameter.grad.any() for parameter in learned)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_equal_embeddings_have_finite_gradients(embedding_loss, name, options):
    """Two utterances that a teacher, or an untrained student, cannot tell apart."""
    loss = embedding_loss(name, **options).double()
    student, teacher = embeddings(1, 4).repeat(5, 1).requires_grad_(), embeddings(1, 7).repeat(5, 1)
    loss(student, teacher).backward()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(embedding_loss, name, options, dtype):
    loss = embedding_loss(name, **options)
    student, teacher = embeddings(5, 4).to(dtype).requires_grad_(), embeddings(5, 7).float()
    with torch.autocast("cpu", dtype):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(student.detach().float(), teacher).item(), rel=0.02)
    value.backward()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_it_learns(embedding_loss, name, options):
    loss = embedding_loss(name, 4, 4, **options).double()
    student, teacher = embeddings(6, 4, requires_grad=True), embeddings(6, 4)
    optimizer = torch.optim.Adam([student, *loss.parameters()], lr=0.05)
    first = loss(student, teacher).item()
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert value.item() < 0.05 * first


@pytest.mark.parametrize(("relation", "size"), [("cosine", 1), ("distance", 1), ("angle", 2)])
def test_too_few_crops_to_compare(embedding_loss, relation, size):
    loss = embedding_loss("embedding_relational", relation=relation)
    with pytest.raises(ConfigError, match=rf"found {size} crop\(s\) in a batch, .*expected at least {size + 1}"):
        loss(embeddings(size, 4), embeddings(size, 7))
