"""A model on texts: what each document costs it, and what its tokenizer did to the documents.

A tokenizer that does not give a text back (because it normalises, or knows a character only as
`<unk>`) has its model predict another text than the one whose bytes are counted. Such documents stay
in, and are counted beside the figures.

With several processes each takes a share of the documents, and the first one gets all results.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributed as dist

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.perplexity import Predicted
from tsumugu.evaluation.scoring import Ids, score
from tsumugu.evaluation.subject import Subject
from tsumugu.evaluation.texts import Document, Texts
from tsumugu.training.processes import hear, tell


@dataclass(frozen=True)
class Windows:
    """How texts are read that are longer than a model can see."""

    context_tokens: int
    """Tokens that the model sees at once."""
    stride: int
    """By so many tokens a window moves on. All others of a window are context."""


@dataclass(frozen=True)
class Measured:
    """What texts cost a model."""

    documents: tuple[Predicted, ...]
    """In the order of the texts."""
    windows: Windows
    unfaithful_documents: int
    """Whose tokens give another text."""
    unknown_tokens: int
    """Tokens that stand for whatever the vocabulary lacks."""


def windows_for(subject: Subject, *, context: int | None = None, stride: int | None = None) -> Windows:
    """The windows of a model: as long as it can see, or `context` if that is less; by half of that.

    Raises:
        TsumuguError: the stride would leave a token less than half of a window of context.
    """
    return windows_of(subject.name, subject.model.max_length, context=context, stride=stride)


def windows_of(name: str, longest: int, *, context: int | None = None, stride: int | None = None) -> Windows:
    """`windows_for` a model of this name that sees `longest` tokens."""
    length = longest if context is None else min(context, longest)
    half = max(1, length // 2)
    chosen = half if stride is None else stride
    if not 1 <= chosen <= half:
        raise TsumuguError(
            f"{name}: the stride is {chosen}, and windows have {length} tokens. Every token must see "
            f"at least half of a window, so take 1 to {half}"
        )
    return Windows(length, chosen)


def measure(
    subject: Subject, texts: Texts, windows: Windows, *, batch_size: int, description: str
) -> Measured | None:
    """Predict every document of `texts`.

    Args:
        subject: who predicts.
        texts: what.
        windows: of `windows_for`.
        batch_size: windows in one forward pass.
        description: for the progress bar, which the first process shows; none without it.

    Returns:
        What was found out; None on all processes but the first.

    Raises:
        TsumuguError: the model gives something that is no probability.
    """
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    # By length, so that all have about as much to do.
    order = sorted(range(len(texts.documents)), key=lambda index: (-texts.documents[index].bytes, index))
    share = order[rank::processes]
    found = _predict(
        subject,
        [texts.documents[index] for index in share],
        windows,
        batch_size=batch_size,
        description="" if rank else description,
    )
    gathered = _gather((share, found), f"evaluate/{subject.name}/{texts.name}")
    if gathered is None:
        return None
    documents = {
        index: document
        for indices, part in gathered
        for index, document in zip(indices, part.documents, strict=True)
    }
    return Measured(
        documents=tuple(documents[index] for index in range(len(texts.documents))),
        windows=windows,
        unfaithful_documents=sum(part.unfaithful_documents for _, part in gathered),
        unknown_tokens=sum(part.unknown_tokens for _, part in gathered),
    )


def predict(
    subject: Subject,
    texts: Sequence[Sequence[int] | Ids],
    windows: Windows,
    *,
    batch_size: int,
    description: str,
) -> list[float]:
    """Minus the log-probability, in nats, of the tokens of each text, begun as the model is used to.

    Raises:
        TsumuguError: one of them is no number.
    """
    # Nothing is certain for a text of which nothing is left.
    filled = [index for index, ids in enumerate(texts) if len(ids)]
    scored = score(
        subject.model,
        [(np.array([subject.text_start, *texts[index]], dtype=np.int64), 1) for index in filled],
        batch_size=batch_size,
        description=description,
        length=windows.context_tokens,
        stride=windows.stride,
    )
    nats = [0.0] * len(texts)
    for index, one in zip(filled, scored, strict=True):
        if not math.isfinite(one.log_probability):
            raise TsumuguError(
                f"{subject.name}: the log-probability of document {index + 1} is {one.log_probability}. The "
                f"model's weights are damaged, or too large for the precision they are computed in"
            )
        nats[index] = -one.log_probability
    return nats


def _predict(
    subject: Subject, documents: list[Document], windows: Windows, *, batch_size: int, description: str
) -> Measured:
    encoded = [subject.encode(document.text) for document in documents]
    nats = predict(subject, encoded, windows, batch_size=batch_size, description=description)
    unknown = subject.unk_id
    if unknown in (subject.text_start, subject.eos_id):
        # Byte-level tokenizers name their end of text here, and know every character.
        unknown = None
    return Measured(
        documents=tuple(
            Predicted(
                id=document.id,
                source=document.source,
                nats=cost,
                tokens=len(ids),
                characters=len(document.text),
                bytes=document.bytes,
            )
            for document, ids, cost in zip(documents, encoded, nats, strict=True)
        ),
        windows=windows,
        unfaithful_documents=sum(
            subject.decode(ids) != document.text for document, ids in zip(documents, encoded, strict=True)
        ),
        unknown_tokens=sum(ids.count(unknown) for ids in encoded) if unknown is not None else 0,
    )


def _gather(value: Any, topic: str) -> list[Any] | None:
    """Every process's value, on the first process."""
    if not dist.is_initialized():
        return [value]
    rank, processes = dist.get_rank(), dist.get_world_size()
    # One may take hours longer than another, and a collective waits for minutes.
    tell(f"{topic}/{rank}", True)
    for other in range(processes):
        hear(f"{topic}/{other}")
    gathered: list[Any] | None = [None] * processes if rank == 0 else None
    dist.gather_object(value, gathered, dst=0)
    return gathered
