"""Log-probabilities of answers to contexts: what every score here is made of.

All answers to one context stand in one row behind it, so that the context is computed once; what
many contexts begin with, such as the same examples, is computed once for all of them; and the softmax
is taken where an answer's tokens are predicted and nowhere else. Rows of like length go through the
model together. A text longer than the model can see is cut into windows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tsumugu.evaluation.language_model import LanguageModel, LogitsAt, NativeModel, Rows

Ids = NDArray[np.int64]
_LOGITS_BYTES = 64 * 2**20
"""Of the logits that exist at a time."""
_SHORTEST_PREFIX, _FEWEST_ROWS = 32, 3
"""Tokens that rows must begin with together for these to be read once, and the rows that this is done for."""
_SHARES = (0.4, 0.1)
"""And their part of a row; what shares less goes by itself."""
_KEPT = 0.75
"""Of what a run of rows shares, when another row joins it."""


@dataclass(frozen=True)
class Item:
    """A context, and answers of which each follows it."""

    context: Ids
    """`int64 [n]`, n >= 1."""
    answers: tuple[Ids, ...]
    """`int64 [m]` each, m >= 1."""


@dataclass(frozen=True)
class Scored:
    """What a model thinks of an answer."""

    log_probability: float
    """Sum over its tokens, in nats."""
    greedy: bool
    """Whether each of its tokens was the most probable one."""


@dataclass(frozen=True)
class Window:
    """Tokens that go through the model at once; those from `first` on are scored."""

    owner: int
    """Which sequence the tokens are from."""
    tokens: Ids
    first: int


def windows(
    owner: int, tokens: Ids, *, first: int, length: int, stride: int | None = None
) -> Iterator[Window]:
    """Cut `tokens` so that every token from `first` on is scored once.

    A window holds at most `length + 1` tokens (inputs and the last target); after the first one,
    all but `stride` of them are context, so no token is judged without what stood before it.

    Args:
        owner: as in `Window`.
        tokens: `int64 [n]`.
        first: the first that is scored, at least 1.
        length: tokens that the model sees at once.
        stride: tokens that a window adds, at most half of `length`, which is the default.
    """
    stride = length // 2 if stride is None else stride
    assert 1 <= stride <= max(1, length // 2)
    end = min(len(tokens), max(length, first) + 1)
    yield Window(owner, tokens[max(0, end - length - 1) : end], first - max(0, end - length - 1))
    while end < len(tokens):
        scored_from, end = end, min(len(tokens), end + stride)
        start = max(0, end - length - 1)
        yield Window(owner, tokens[start:end], scored_from - start)


def score(
    model: LanguageModel,
    sequences: Sequence[tuple[Ids, int]],
    *,
    batch_size: int,
    description: str,
    length: int | None = None,
    stride: int | None = None,
) -> list[Scored]:
    """Score each `(tokens, first)`: the tokens from position `first >= 1` on, given those before.

    Args:
        model: who is asked.
        sequences: `int64 [n]` each, n > first; longer ones are read through sliding windows.
        batch_size: windows in one forward pass.
        description: for the progress bar; none without it.
        length: tokens that the model sees at once; default: as many as it can.
        stride: of the windows.
    """
    length = model.max_length if length is None else min(length, model.max_length)
    cut = [
        window
        for owner, (tokens, first) in enumerate(sequences)
        for window in windows(owner, tokens, first=first, length=length, stride=stride)
    ]
    items = [Item(window.tokens[: window.first], (window.tokens[window.first :],)) for window in cut]
    totals = np.zeros(len(sequences))
    greedy = np.ones(len(sequences), dtype=bool)
    found = score_items(model, items, batch_size=batch_size, description=description, share=False)
    for window, (scored,) in zip(cut, found, strict=True):
        totals[window.owner] += scored.log_probability
        greedy[window.owner] &= scored.greedy
    return [Scored(float(total), bool(is_greedy)) for total, is_greedy in zip(totals, greedy, strict=True)]


def score_items(
    model: LanguageModel,
    items: Sequence[Item],
    *,
    batch_size: int,
    description: str,
    done: Callable[[int, tuple[Scored, ...]], None] = lambda index, scored: None,
    share: bool = True,
) -> list[tuple[Scored, ...]]:
    """Score every answer of every item, given its context.

    Args:
        model: who is asked. A context with an answer holds at most `max_length + 1` tokens.
        items: contexts and answers.
        batch_size: rows in one forward pass; rows of like length share one.
        description: for the progress bar; none without it.
        done: told of each item as soon as all its answers are scored.
        share: look for what many contexts begin with, to read it once.
    """
    rows = _rows(model, items)
    found: list[list[Scored | None]] = [[None] * len(item.answers) for item in items]
    missing = [len(item.answers) for item in items]
    bar = tqdm(total=sum(missing), desc=description or None, unit="answer", disable=not description)
    with bar:
        for group, reader in _batches(model, rows, batch_size, share=share):
            for row, scored in zip(group, _score_rows(model, group, reader), strict=True):
                for answer, one in zip(row.answers, scored, strict=True):
                    found[row.item][answer] = one
                missing[row.item] -= len(scored)
                if not missing[row.item]:
                    done(row.item, _complete(found[row.item]))
                bar.update(len(scored))
    return [_complete(each) for each in found]


def _complete(scored: Sequence[Scored | None]) -> tuple[Scored, ...]:
    return tuple(one for one in scored if one is not None)


@dataclass(frozen=True)
class _Row:
    """A context and some of its answers, as they go through the model."""

    item: int
    answers: tuple[int, ...]
    """Their numbers in the item."""
    context: Ids
    texts: tuple[Ids, ...]

    @property
    def width(self) -> int:
        """Inputs. The last token of an answer is none."""
        return len(self.context) + sum(len(text) - 1 for text in self.texts)


def _rows(model: LanguageModel, items: Sequence[Item]) -> list[_Row]:
    rows = []
    for number, item in enumerate(items):
        assert len(item.context)
        assert all(map(len, item.answers))
        together = [tuple(range(len(item.answers)))]
        if not model.shares_contexts:
            # Where each answer is one token, the context alone tells.
            single = all(len(answer) == 1 for answer in item.answers)
            together = together if single else [(index,) for index in range(len(item.answers))]
        for answers in together:
            rows.append(_Row(number, answers, item.context, tuple(item.answers[i] for i in answers)))
    return rows


@dataclass(frozen=True)
class _Reader:
    """How a model reads rows."""

    known: int
    """Tokens at the beginning of each row that it has read already."""
    read: Callable[[Rows, Tensor], LogitsAt]
    """Rows without these, and the places whose logits are wanted."""


def _batches(
    model: LanguageModel, rows: Sequence[_Row], batch_size: int, *, share: bool
) -> Iterator[tuple[list[_Row], _Reader]]:
    """Rows that go through the model together, and how it reads them."""
    share = share and isinstance(model, NativeModel)
    together, alone = _shared(rows) if share else ([], list(rows))
    for part in _parts(alone, batch_size):
        yield part, _Reader(0, model.read)
    for length, run in together:
        assert isinstance(model, NativeModel)
        prefix = model.read_prefix(torch.from_numpy(run[0].context[:length]).to(model.device))
        reader = _Reader(length, partial(model.read_after, prefix))
        for part in _parts(run, batch_size):
            yield part, reader


def _parts(rows: list[_Row], size: int) -> Iterator[list[_Row]]:
    # Long ones first: what does not fit into memory fails at once, and the bar's guess is no promise.
    rows = sorted(rows, key=lambda row: -row.width)
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _shared(rows: Sequence[_Row]) -> tuple[list[tuple[int, list[_Row]]], list[_Row]]:
    """Rows that begin with the same tokens, with the number of these; and the others.

    First those that share much, such as the examples of one subject; then, of what is left, those that
    share a little, such as a description.
    """
    together: list[tuple[int, list[_Row]]] = []
    for least_share in _SHARES:
        runs = _runs(rows, least_share)
        together += [(length, run) for length, run in runs if len(run) >= _FEWEST_ROWS]
        rows = [row for _, run in runs if len(run) < _FEWEST_ROWS for row in run]
    return together, list(rows)


def _runs(rows: Sequence[_Row], least_share: float) -> list[tuple[int, list[_Row]]]:
    """All rows, those together that have at least such a share of their beginnings in common."""
    runs: list[tuple[int, list[_Row]]] = []
    # Big-endian bytes stand in the order of the numbers, and take an eighth of a list's memory.
    for row in sorted(rows, key=lambda row: row.context.astype(">u4").tobytes()):
        # At least one token of the context stays, for what it predicts.
        most = len(row.context) - 1
        if runs:
            length, run = runs[-1]
            common = min(length, most, _common(run[0].context, row.context))
            # Several rows do not give up what they share for the sake of one more.
            enough = common >= _KEPT * length or len(run) < _FEWEST_ROWS
            if enough and common >= max(_SHORTEST_PREFIX, least_share * row.width):
                run.append(row)
                runs[-1] = (common, run)
                continue
        runs.append((most, [row]))
    return runs


def _common(one: Ids, other: Ids) -> int:
    """How many tokens both begin with."""
    size = min(len(one), len(other))
    different = np.flatnonzero(one[:size] != other[:size])
    return int(different[0]) if len(different) else size


def _score_rows(model: LanguageModel, group: Sequence[_Row], reader: _Reader) -> list[list[Scored]]:
    known = reader.known
    width = max(row.width for row in group) - known
    tokens = np.zeros((len(group), width), dtype=np.int64)
    branches = any(sum(len(text) > 1 for text in row.texts) > 1 for row in group)
    # A row may be wider than the model can see; none of its texts is.
    places = np.minimum(np.arange(width), model.max_length - 1 - known)
    positions = np.tile(places, (len(group), 1)) if branches else None
    mask = np.tile(np.tri(width, dtype=bool), (len(group), 1, 1)) if branches else None
    # Of every token that is scored: where it is predicted, and which it is.
    at_row, at_place, targets = [], [], []
    for number, row in enumerate(group):
        context = len(row.context) - known
        tokens[number, :context] = row.context[known:]
        begin = context
        for text in row.texts:
            end = begin + len(text) - 1
            tokens[number, begin:end] = text[:-1]
            if positions is not None and mask is not None:
                positions[number, begin:end] = np.arange(context, context + len(text) - 1)
                mask[number, begin:end, context:begin] = False
            at_row.append(np.full(len(text), number))
            at_place.append(np.concatenate([[context - 1], np.arange(begin, end)]))
            targets.append(text)
            begin = end

    def to(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(model.device)

    logits_at = reader.read(
        Rows(
            to(tokens),
            None if positions is None else to(positions),
            None if mask is None else to(mask)[:, None],
        ),
        to(np.unique(np.concatenate(at_place))),
    )
    nats, best = _at_targets(
        logits_at,
        to(np.concatenate(at_row)),
        to(np.concatenate(at_place)),
        to(np.concatenate(targets)),
        together=max(1, _LOGITS_BYTES // (4 * model.vocab_size)),
    )
    found, begin = [], 0
    for row in group:
        scored = []
        for text in row.texts:
            end = begin + len(text)
            scored.append(Scored(float(nats[begin:end].sum()), bool(best[begin:end].all())))
            begin = end
        found.append(scored)
    return found


@torch.no_grad()
def _at_targets(
    logits_at: LogitsAt, rows: Tensor, places: Tensor, targets: Tensor, *, together: int
) -> tuple[Tensor, Tensor]:
    """Log-probability (`float64`, nats) of each target, and whether it was the most probable token."""
    nats, best = [], []
    for begin in range(0, len(targets), together):
        part = slice(begin, begin + together)
        # First tokens of the answers to one context are predicted at one place.
        spots, where = torch.unique(torch.stack([rows[part], places[part]]), dim=1, return_inverse=True)
        logits, target = logits_at(spots[0], spots[1]), targets[part]
        if len(where) == spots.shape[1] and bool(
            (where == torch.arange(len(where), device=where.device)).all()
        ):
            # One target at each place, as in texts: the fused kernel.
            found = -F.cross_entropy(logits, target, reduction="none")
            picked, largest = logits.gather(1, target[:, None])[:, 0], logits.amax(-1)
        else:
            picked, largest = logits[where, target], logits.amax(-1)[where]
            found = picked - logits.logsumexp(-1)[where]
        nats.append(found.double())
        is_best = picked == largest
        # Of equally likely tokens the first is the most probable one.
        ties = is_best.nonzero()[:, 0]
        is_best[ties] = logits[where[ties]].argmax(-1) == target[ties]
        best.append(is_best)
    return torch.cat(nats).cpu(), torch.cat(best).cpu()
