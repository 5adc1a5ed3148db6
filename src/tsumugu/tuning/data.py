"""Records to the conversations that the model learns and those that are held out.

    in = kept + dropped + quarantined

Quarantined are records that cannot be read or are no conversation. Dropped are exact and near duplicates
and what gives an evaluation set away, by the functions with which the corpus room decides about
documents, and conversations that are longer than the model may see. What is kept is divided by the
record's id, so that a conversation is on the same side whatever else there is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus import dedup
from tsumugu.corpus.config import CorpusConfig, DecontaminationConfig, DedupConfig, Input
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside
from tsumugu.tokens.split import is_validation
from tsumugu.tuning.config import TuneFiles, TuneInput
from tsumugu.tuning.formats import READERS, Malformed, read_preference
from tsumugu.tuning.reading import Place, Quarantined, read_records
from tsumugu.tuning.template import Message

TOO_LONG = "too_long"


@dataclass(frozen=True)
class Conversation:
    """One usable record."""

    place: Place
    messages: tuple[Message, ...]
    rejected: str | None = None
    """Of a preference: the answer that is not wanted; the last message is the one that is."""

    @property
    def text(self) -> str:
        """As it is compared with others: its contents."""
        contents = [message.content for message in self.messages]
        return "\n".join([*contents, self.rejected] if self.rejected else contents)


@dataclass(frozen=True)
class Dropped:
    """A usable record that is not used."""

    place: Place
    reason: str
    duplicate_of: str | None = None


@dataclass(frozen=True)
class Selected:
    """All records, each in one place."""

    kept: tuple[Conversation, ...]
    dropped: tuple[Dropped, ...]
    quarantined: tuple[Quarantined, ...]

    def counts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "in": len(self.kept) + len(self.dropped) + len(self.quarantined),
            "kept": len(self.kept),
            "dropped": len(self.dropped),
            "quarantined": len(self.quarantined),
            "reasons": dict(sorted(Counter(one.reason for one in self.dropped).items())),
            "sources": dict(Counter(one.place.source for one in self.kept)),
        }

    def decisions(self) -> list[dict[str, Any]]:
        """A row for every record that is not kept: where it stands, and why."""
        rows = [
            {**asdict(one.place), "reason": one.reason, "duplicate_of": one.duplicate_of}
            for one in self.dropped
        ]
        return rows + [
            {**asdict(one.place), "reason": "quarantined", "error": one.error} for one in self.quarantined
        ]


def read_conversations(entries: Sequence[TuneInput]) -> tuple[list[Conversation], list[Quarantined]]:
    """The conversations of all inputs, in order, and the records that are none."""

    def read(entry: TuneFiles, record: Mapping[str, Any], place: Place) -> Conversation:
        assert isinstance(entry, TuneInput)
        return Conversation(place, READERS[entry.format](record))

    return _read(entries, read)


def read_preferences(entries: Sequence[TuneFiles]) -> tuple[list[Conversation], list[Quarantined]]:
    """The same for preferences: the conversation with the wanted answer, and the other one."""

    def read(entry: TuneFiles, record: Mapping[str, Any], place: Place) -> Conversation:
        prompt, chosen, rejected = read_preference(record)
        return Conversation(place, (*prompt, Message("assistant", chosen)), rejected)

    return _read(entries, read)


def _read(entries: Sequence[TuneFiles], read: Any) -> tuple[list[Conversation], list[Quarantined]]:
    found: list[Conversation] = []
    quarantined: list[Quarantined] = []
    for entry, one in read_records(entries):
        if isinstance(one, Quarantined):
            quarantined.append(one)
            continue
        try:
            found.append(read(entry, one.record, one.place))
        except Malformed as error:
            quarantined.append(Quarantined(one.place, str(error)))
    return found, quarantined


def select(
    conversations: Sequence[Conversation],
    quarantined: Sequence[Quarantined],
    lengths: Sequence[int],
    *,
    max_length: int,
    near_duplicate_jaccard: float,
    decontamination: DecontaminationConfig,
    work: Path,
    resources: Resources,
) -> Selected:
    """Decide about every conversation.

    Args:
        lengths: tokens of each conversation.
        work: for intermediate files.

    Raises:
        TsumuguError: an evaluation set yields nothing to look for, or no conversation is left.
    """
    decided = _decide(
        conversations,
        jaccard=near_duplicate_jaccard,
        decontamination=decontamination,
        work=work,
        resources=resources,
    )
    kept, dropped = [], []
    for one, length, (reason, duplicate_of) in zip(conversations, lengths, decided, strict=True):
        if reason is None and length > max_length:
            reason = TOO_LONG
        if reason is None:
            kept.append(one)
        else:
            dropped.append(Dropped(one.place, reason, duplicate_of))
    found = Selected(tuple(kept), tuple(dropped), tuple(quarantined))
    if len(kept) < 2:
        first = f"; the first: {quarantined[0].error}" if quarantined else ""
        raise TsumuguError(
            f"tune: {len(kept)} of {found.counts()['in']} records are left, and it takes two: one to "
            f"learn and one to hold out. Dropped: {found.counts()['reasons'] or 'none'}; quarantined: "
            f"{len(quarantined)}{first}"
        )
    return found


def divide(
    conversations: Sequence[Conversation], *, seed: int, fraction: float
) -> tuple[list[int], list[int]]:
    """The places of what is learned and of what is held out; of two or more, one at least on either side."""
    held_out = [
        place
        for place, one in enumerate(conversations)
        if is_validation(one.place.id, seed=seed, fraction=fraction)
    ]
    if not held_out and len(conversations) > 1:
        held_out = [len(conversations) - 1]
    if len(held_out) == len(conversations):
        held_out = held_out[1:]
    aside = set(held_out)
    return [place for place in range(len(conversations)) if place not in aside], held_out


def _decide(
    conversations: Sequence[Conversation],
    *,
    jaccard: float,
    decontamination: DecontaminationConfig,
    work: Path,
    resources: Resources,
) -> list[tuple[str | None, str | None]]:
    """Reason and survivor for every conversation: the corpus room's decisions about them as documents."""
    if not conversations:
        return []
    config = CorpusConfig(
        # Nothing is read: the documents are here.
        inputs=(Input(path="-", source="tune", license="-"),),
        profile=None,
        dedup=DedupConfig(urls=False, verify_jaccard=jaccard, contained_share=None, repeated_lines=None),
        decontamination=decontamination,
    )
    texts = [one.text for one in conversations]
    measured = work / "measured.parquet"
    columns = {
        "id": [one.place.id for one in conversations],
        "text": pa.array(texts, pa.string()),
        "url": [""] * len(texts),
        "metadata": ["{}"] * len(texts),
        "reason": [""] * len(texts),
        **dedup.keys(texts, config.dedup),
    }
    with write_aside(measured) as aside:
        pq.write_table(pa.table(columns), aside)
    [decided] = dedup.decide([measured], config=config, work=work / "decide", resources=resources)
    table = pq.read_table(decided, columns=["reason", "duplicate_of"])
    return list(zip(table["reason"].to_pylist(), table["duplicate_of"].to_pylist(), strict=True))
