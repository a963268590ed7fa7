"""Where the speaker classes of an SV loss begin: where another run left them, or at the speakers' mean embeddings.

``classifier.safetensors`` in a MODEL_DIR holds the learned parts of its run's SV loss, and its metadata the speakers
in their order. No model needs it; fine-tuning goes on from it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from svtk.data.crops import Batch
from svtk.errors import SvtkError
from svtk.losses._classifier import CosineClassifier
from svtk.models.speaker_model import SpeakerModel
from svtk.progress import progress
from svtk.weights import save_tensors

__all__ = ["mean_embeddings", "save_classifier", "start_classifier"]

log = logging.getLogger(__name__)

_FILE = "classifier.safetensors"


def save_classifier(sv_loss: nn.Module, speakers: Sequence[str], directory: Path) -> None:
    """Write the learned parts of *sv_loss* over *speakers* to ``classifier.safetensors``, by rename."""
    save_tensors(sv_loss.state_dict(), directory / _FILE, {"speakers": json.dumps(list(speakers))})


def start_classifier(
    sv_loss: CosineClassifier,
    model: SpeakerModel,
    crops: Iterable[Batch | SvtkError],
    speakers: Sequence[str],
    *,
    source: Path,
) -> None:
    """Set the classes of *sv_loss* before its first step.

    They are those of *source* where its run had the same speakers and a loss of the same learned parts (margins and
    scale may differ); else the speakers' mean embeddings by *model*.

    Args:
        sv_loss: over *speakers*.
        model: whose embeddings the classes are for, on its device; left in evaluation mode.
        crops: batches of crops of the speakers.
        speakers: in the order of their labels.
        source: MODEL_DIR that *model* was loaded from.
    """
    left = _load(source / _FILE, speakers, sv_loss)
    if left is not None:
        sv_loss.load_state_dict(left)
        log.info("speaker classes go on from %s", source / _FILE)
    else:
        sv_loss.start_from(mean_embeddings(model, crops, len(speakers)))


def _load(file: Path, speakers: Sequence[str], sv_loss: nn.Module) -> dict[str, Tensor] | None:
    """The learned parts in *file*, or None where they are not those of *sv_loss* over *speakers*."""
    try:
        with safe_open(file, framework="pt") as opened:
            known = json.loads((opened.metadata() or {}).get("speakers", "[]"))
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        log.info("%s cannot be read: speaker classes begin at mean embeddings", file)
        return None
    wanted = {key: value.shape for key, value in sv_loss.state_dict().items()}
    if known != list(speakers) or {key: value.shape for key, value in state.items()} != wanted:
        log.info("%s is of other speakers or another loss: speaker classes begin at mean embeddings", file)
        return None
    return state


@torch.no_grad()
def mean_embeddings(model: SpeakerModel, crops: Iterable[Batch | SvtkError], num_spks: int) -> Tensor:
    """Directions (num_spks, E) of the mean of the length-normalised embeddings of every speaker's crops.

    Where speeds are drawn and are speakers of their own, one may have had no crop: its direction is random.

    Raises:
        SvtkError: a batch could not be made.
    """
    device = next(model.parameters()).device
    model.eval()
    total = torch.zeros(num_spks, model.embedding_dim, device=device)
    for batch in progress(crops, "mean embeddings", unit="batch"):
        if isinstance(batch, SvtkError):
            raise batch
        batch = batch.to(device)
        total.index_add_(0, batch.label, nn.functional.normalize(model(batch.wav)[1].float()))
    total[~total.any(dim=1)] = torch.randn_like(total[~total.any(dim=1)])
    return nn.functional.normalize(total)
