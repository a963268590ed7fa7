"""Rates, patience and validation: the parts of the training loop, without training."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from svtk.errors import DataError, ModelError
from svtk.models.speaker_model import load_model
from svtk.train.brain import SpeakerBrain
from svtk.train.objective import align_frames
from svtk.train.options import TrainOptions
from svtk.train.schedule import learning_rate
from svtk.train.state import TrainState
from svtk.train.tally import EpochTally
from svtk.train.validation import Validation


def validate(state: TrainState, options: TrainOptions, eers) -> list[float]:
    scales = []
    for eer in eers:
        state.epoch += 1
        state.validated(eer, options)
        scales.append(state.lr_scale)
    return scales


def test_the_rate_is_halved_after_five_without_improvement():
    state = TrainState()
    assert validate(state, TrainOptions(), [0.3, 0.2, 0.2, 0.25, 0.21, 0.22]) == [1.0] * 6
    assert validate(state, TrainOptions(), [0.3]) == [0.5]  # the fifth since 0.2
    assert validate(state, TrainOptions(), [0.3] * 4) == [0.5] * 4
    assert validate(state, TrainOptions(), [0.3]) == [0.25]
    assert (state.best_eer, state.best_epoch, state.bad_since_best) == (0.2, 2, 10)


def test_an_improvement_starts_the_counts_anew():
    state = TrainState()
    assert validate(state, TrainOptions(), [0.3, 0.4, 0.4, 0.4, 0.4, 0.2, 0.4, 0.4, 0.4, 0.4]) == [1.0] * 10
    assert state.bad_since_best == 4 and state.best_epoch == 6
    assert validate(state, TrainOptions(), [0.4, 0.1]) == [0.5, 0.5]


def test_no_halving_under_the_cosine():
    assert validate(TrainState(), TrainOptions(schedule="cosine"), [0.3] * 20) == [1.0] * 20


def epochs(state, options, eers):
    """The epochs of a training whose validations give *eers*, one an epoch."""
    brain, done = SimpleNamespace(state=state, options=options), []
    for epoch in SpeakerBrain.epochs(brain):
        done.append(epoch)
        state.epoch = epoch
        state.validated(eers[epoch - 1], options)
    return done


def test_it_stops_after_ten_without_improvement():
    assert epochs(TrainState(), TrainOptions(), [0.3, 0.2, *[0.2] * 50]) == list(range(1, 13))
    assert epochs(TrainState(), TrainOptions(max_epochs=7), [0.3] * 50) == list(range(1, 8))
    assert epochs(TrainState(), TrainOptions(max_epochs=30), [1 / n for n in range(1, 50)]) == list(range(1, 31))


def test_it_goes_on_where_it_stopped():
    state = TrainState(epoch=5, best_eer=0.2, best_epoch=2, bad_since_best=3, bad_since_lr=3)
    assert epochs(state, TrainOptions(), [0.3] * 50) == list(range(6, 13))
    assert epochs(TrainState(epoch=7), TrainOptions(max_epochs=7), []) == []


def rates(options, num_epochs, steps=4, scale=1.0):
    place = itertools.product(range(1, num_epochs + 1), range(1, steps + 1))
    return [learning_rate(options, TrainState(lr_scale=scale), steps, epoch, step) for epoch, step in place]


def test_the_plateau_rate():
    assert rates(TrainOptions(lr=0.2), 3) == [0.2] * 12
    assert rates(TrainOptions(lr=0.2), 2, scale=0.25) == [0.05] * 8


def test_the_cosine_rate_falls_to_zero():
    found = rates(TrainOptions(lr=0.2, schedule="cosine", max_epochs=5), 5)
    np.testing.assert_allclose(found, [0.1 * (1 + math.cos(math.pi * i / 20)) for i in range(20)], atol=1e-12)


def test_warm_up_rises_by_the_step():
    found = rates(TrainOptions(lr=0.2, warmup_epochs=2), 3)
    np.testing.assert_allclose(found, [0.2 * min(1, (i + 1) / 8) for i in range(12)], atol=1e-12)
    both = rates(TrainOptions(lr=0.2, warmup_epochs=2, schedule="cosine", max_epochs=3), 3)
    np.testing.assert_allclose(
        both, [0.1 * (1 + math.cos(math.pi * i / 12)) * min(1, (i + 1) / 8) for i in range(12)], atol=1e-12
    )


def test_the_margin_warms_up_by_the_epoch():
    for warmup, expected in ((0, [1, 1, 1, 1]), (2, [0, 0.5, 1, 1])):
        brain = SimpleNamespace(
            options=TrainOptions(margin_warmup_epochs=warmup),
            dataset=SimpleNamespace(epoch=0),
            sampler=SimpleNamespace(first_step=None),
            state=TrainState(),
            device="cpu",
            objective=SimpleNamespace(sv_loss=SimpleNamespace()),
            log=SimpleNamespace(start_epoch=lambda state: None),
            tally=EpochTally("cpu"),
        )
        found = []
        for epoch in (1, 2, 3, 4):
            SpeakerBrain.on_stage_start(brain, __import__("speechbrain").Stage.TRAIN, epoch)
            found.append(brain.objective.sv_loss.margin_factor)
            assert brain.dataset.epoch == epoch and brain.sampler.first_step == 0
        assert found == expected


def states(frames):
    return [torch.arange(frames * 2.0).reshape(1, frames, 2)] * 3


@pytest.mark.parametrize(("mine", "theirs"), [(149, 149), (149, 150), (150, 149)])
def test_frames_are_aligned_at_the_start(mine, theirs):
    student, teacher = align_frames(states(mine), {2: states(theirs)[0], 5: states(theirs)[0]})
    frames = min(mine, theirs)
    assert [s.shape[1] for s in (*student, *teacher.values())] == [frames] * 5
    assert torch.equal(student[0], teacher[5])


@pytest.mark.parametrize(("mine", "theirs"), [(149, 151), (149, 75), (24, 22)])
def test_frames_that_cannot_be_aligned(mine, theirs):
    with pytest.raises(ModelError, match=rf"disagree on frames; found {mine} and \[{theirs}\]; expected the same"):
        align_frames(states(mine), {2: states(theirs)[0]})


# Validation


def test_the_eer_of_cosine_scores(student_dir, corpus):
    from svtk.extract.embeddings import embed_utterances
    from svtk.kaldi.trials import read_trials
    from svtk.score.metrics import equal_error_rate, operating_points

    model, validation = load_model(student_dir), Validation(corpus.valid, corpus.trials)
    rows = {utt: torch.from_numpy(row) for utt, row in embed_utterances(model, validation.items)}
    trials = read_trials(corpus.trials)
    pairs = zip(trials.enroll, trials.test, strict=True)
    scores = np.array([torch.cosine_similarity(rows[a], rows[b], dim=0).item() for a, b in pairs])
    expected = equal_error_rate(operating_points(scores, trials.labels))[0]
    model.train()
    assert validation.eer(model) == pytest.approx(expected, abs=1e-6) and not model.training


def test_embeddings_that_are_not_finite(student_dir, corpus):
    model = load_model(student_dir)
    torch.nn.init.constant_(model.backend.linear.weight, float("nan"))
    with pytest.raises(ModelError, match="validation embeddings are not finite. To mend: lower lr"):
        Validation(corpus.valid, corpus.trials).eer(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v0-0 v0-1\n", "validation trials need labels. To mend: make them with svtk make-trials"),
        ("v0-0 v0-1 target\nv0-0 who nontarget\n", r"trials:2: 'who' is not in .*valid"),
        ("v0-0 v0-1 target\nv0-0 v0-2 target\n", "nontarget"),
        ("", "trials"),
    ],
)
def test_trials_that_do_not_serve(corpus, tmp_path, student_dir, text, message):
    (tmp_path / "trials").write_text(text)
    with pytest.raises(DataError, match=message):
        Validation(corpus.valid, str(tmp_path / "trials")).eer(load_model(student_dir))
