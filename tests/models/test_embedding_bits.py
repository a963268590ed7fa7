"""An embedding is the same to the last bit whatever is extracted with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from svtk.errors import AudioError
from svtk.models import embedding as module
from svtk.models.embedding import default_batch_size, embed_utterances
from svtk.models.speaker_model import StudentSpec, build_model

LENGTHS = [3000, 8000, 8001, 9000, 40_000, 15_681, 8000, 23_456, 16_000, 12_345, 61_000, 8320, 30_000]
STUDENTS = ["conv_mixer", "cycle_mlp", "mlp_mixer", "sv_mixer", "transformer"]
LAYOUT = {"frequencies": 4, "channels": 4, "stages": [{"reduction": 4}, {"stride": 2, "num_blocks": 1}]}
BACKENDS = {
    "linear": {},
    "ecapa_tdnn": {"channels": 40, "aggregate_channels": 48, "attention_channels": 24, "se_channels": 24},
    "mhfa": {"num_heads": 3, "compression_dim": 20},
    "redimnet": {"layout": LAYOUT},
    "redimnet_fusion": {"layout": LAYOUT, "num_injected": 1},
}


def build(student="sv_mixer", backend="linear", frontend="waveform_conv"):
    """Widths that are no multiples of a vector register's, where kernels treat the last rows apart."""
    torch.manual_seed(5)
    options = {"group_dim": 12} if student == "sv_mixer" else {"num_heads": 4} if student == "transformer" else {}
    spec = StudentSpec(
        0.5,
        {"name": frontend, "channels": 24},
        {"name": student, "num_layers": 2, "hidden_dim": 36, **options},
        {"name": backend, "embedding_dim": 10, **BACKENDS[backend]},
    )
    return build_model(spec.model_config()).eval()


@pytest.fixture
def audio(monkeypatch):
    """Utterances whose audio is in memory."""
    rng = np.random.default_rng(6)
    samples = {f"u{i}": rng.uniform(-0.5, 0.5, length).astype(np.float32) for i, length in enumerate(LENGTHS)}
    monkeypatch.setattr(module, "read_audio", lambda wav, *_: samples[wav])
    return [(utt, utt, 0, None) for utt in samples]


CASES = [
    *((student, "linear", "cover", "waveform_conv", 3) for student in STUDENTS),
    *(("sv_mixer", backend, "cover", "log_mel", 8) for backend in BACKENDS),
    *(("sv_mixer", backend, "crops", "waveform_conv", 5) for backend in BACKENDS),
    ("sv_mixer", "ecapa_tdnn", "cover", "waveform_conv", 1),
]


@pytest.mark.parametrize(("student", "backend", "windows", "frontend", "batch_size"), CASES)
def test_order_split_and_company_change_no_bit(audio, student, backend, windows, frontend, batch_size):
    model = build(student, backend, frontend).for_inference()  # what extract-embeddings runs
    options = {"windows": windows, "num_crops": 3, "batch_size": batch_size}
    together = dict(embed_utterances(model, audio, **options))
    assert list(together) == [item[0] for item in audio]
    for part in (audio[::-1], audio[1::3] + audio[:1], audio[4:5], audio[-1:]):
        rows = dict(embed_utterances(model, part, **options))
        assert list(rows) == [item[0] for item in part]
        assert all(np.array_equal(row, together[utt]) for utt, row in rows.items())


def test_threads_change_no_bit(audio):
    model, before = build(backend="ecapa_tdnn"), torch.get_num_threads()
    rows = {}
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            rows[number] = dict(embed_utterances(model, audio, batch_size=3))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    for number in (2, 5):
        assert list(rows[number]) == list(rows[1])
        assert all(np.array_equal(row, rows[1][utt]) for utt, row in rows[number].items())


def test_a_consumer_that_leaves_early(audio):
    before = torch.get_num_threads()
    rows = embed_utterances(build(), audio * 5, batch_size=2)
    assert next(rows)[0] == "u0"
    rows.close()
    assert torch.get_num_threads() == before


def test_no_more_is_read_than_is_worked_on(audio, monkeypatch):
    """However long the list: what is read, and not yet given out, is bounded."""
    read, most = [], 0
    get = module.read_audio
    monkeypatch.setattr(module, "read_audio", lambda *args: read.append(args) or get(*args))
    for index, _ in enumerate(embed_utterances(build(), audio * 8, batch_size=2), 1):
        most = max(most, len(read) - index)
    assert index == len(read) == 104 and most < 40


def test_what_came_before_an_error_is_given_out(audio, monkeypatch):
    get = module.read_audio

    def failing(wav, *rest):
        if wav == "u5":
            raise AudioError("cannot read audio", path=wav)
        return get(wav, *rest)

    monkeypatch.setattr(module, "read_audio", failing)
    rows, found = embed_utterances(build(), audio, batch_size=64), []
    with pytest.raises(AudioError, match="u5"):
        for utt, _ in rows:
            found.append(utt)
    assert found == ["u0", "u1", "u2", "u3", "u4"]
    assert [utt for utt, _ in embed_utterances(build(), audio, permissive=True)] == [
        utt for utt, *_ in audio if utt != "u5"
    ]


def test_an_error_of_the_model_is_raised(audio):
    model = build()
    model.encoder.student.norm = torch.nn.LayerNorm(5)
    with pytest.raises(RuntimeError, match="normalized_shape"):
        list(embed_utterances(model, audio))


def test_the_batch_suits_the_model():
    assert default_batch_size(build()) == 8
    with torch.device("meta"):
        assert default_batch_size(build_model(StudentSpec().model_config())) == 1
