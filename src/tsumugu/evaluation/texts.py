"""The texts that models are measured on: files, folders, datasets, the held-out documents of a run.

They come through the readers of the corpus, as they are: nothing is filtered, cleaned or extracted.
A document's id is the hash of its text, so that results on other texts are never taken for results
on these. What cannot be read is counted and listed.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import xxhash

from tsumugu.corpus.config import Input
from tsumugu.corpus.hub import is_dataset
from tsumugu.corpus.inputs import InputFile, find_files, plan_shards
from tsumugu.corpus.reading import Failure, Page, read_records
from tsumugu.corpus.remote import is_url
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.results import safe_name
from tsumugu.evaluation.tasks.groups import GroupText
from tsumugu.recipe import load_recipe
from tsumugu.tokens.split import is_validation

_MAX_DOCUMENT_BYTES = 2**30
_SOURCE = "source"
"""The key of a JSON object, or the column, that names a document's source."""
_NAMED = re.compile(r"(\w[\w.-]*)=(.+)", re.DOTALL)
_KNOWN = re.compile(r"\.(jsonl|ndjson|parquet|html?|xhtml|warc|arc|wet)(\.\w+)?$", re.I)
_JSON = re.compile(r"\.json(\.\w+)?$", re.I)
_SUFFIX = re.compile(r"(\.(json|jsonl|ndjson|parquet|txt|wet))?(\.(gz|bz2|xz|zst))?$", re.I)


@dataclass(frozen=True)
class Place:
    """Where texts lie, and how results call them."""

    name: str
    path: str


@dataclass(frozen=True)
class Document:
    """One text."""

    id: str
    source: str
    text: str

    @property
    def bytes(self) -> int:
        """In UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True)
class Texts:
    """Documents that are measured together."""

    name: str
    documents: tuple[Document, ...]
    unreadable: tuple[str, ...]
    """Each with its place and the reason."""


class Identify:
    """Ids of documents, one after another: the hash of the text, and for copies of it their number."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        """The id of the next document."""
        name = xxhash.xxh3_128_hexdigest(text.encode())
        self._seen[name] += 1
        return name if self._seen[name] == 1 else f"{name}-{self._seen[name]}"


def parse_places(words: Sequence[str]) -> list[Place]:
    """`PATH` or `NAME=PATH` each; without a name it is that of the file, without its suffixes.

    Raises:
        TsumuguError: two have the same name.
    """
    places = []
    for word in words:
        if not word:
            raise TsumuguError("--text: a file, a folder, a dataset or a run is wanted, and this is nothing")
        named = None if Path(word).exists() else _NAMED.fullmatch(word)
        name, path = (named[1], named[2]) if named else (_name_of(word), word)
        # So that its file has this very name.
        places.append(Place(safe_name(name), path))
    for name, count in Counter(place.name.casefold() for place in places).items():
        if count > 1:
            raise TsumuguError(
                f"--text: {count} texts are called {name!r}. Give them names of their own: --text NAME=FILE"
            )
    return places


def read_texts(
    place: Place,
    *,
    text_key: str = "text",
    subset: str | None = None,
    split: str = "train",
    limit: int | None = None,
) -> Texts:
    """The first `limit` documents at a place, in order.

    A place is a file (JSON Lines, Parquet, plain text, each also compressed), a folder or a glob of
    such, a URL of one, a dataset of the Hugging Face Hub (`hf://datasets/OWNER/NAME`), or a run
    folder, which stands for its held-out documents.

    Args:
        place: where, and how results call it.
        text_key: key or column of the text.
        subset: of a dataset.
        split: of a dataset.
        limit: documents; those that cannot be read do not count.

    Raises:
        TsumuguError: there is nothing, or nothing of it can be read.
    """
    documents: list[Document] = []
    unreadable: list[str] = []
    identify = Identify()
    if (Path(place.path) / "recipe.yaml").is_file():
        found: Iterator[tuple[str, str] | str] = _held_out(Path(place.path))
    else:
        found = _read(place, text_key=text_key, subset=subset, split=split)
    for one in found:
        if isinstance(one, str):
            unreadable.append(one)
            continue
        source, text = one
        documents.append(Document(identify(text), source, text))
        if limit is not None and len(documents) == limit:
            break
    if not documents:
        reasons = "; ".join(unreadable[:3]) or "it is empty"
        raise TsumuguError(f"--text {place.path}: there is no document that can be read: {reasons}")
    return Texts(place.name, tuple(documents), tuple(unreadable))


def read_group_text(text: GroupText, *, data: Path | None = None, limit: int | None = None) -> Texts:
    """A text of a group of tasks: local files in the folder of task data, or a dataset of the hub.

    Args:
        text: of `groups.TEXTS`.
        data: the folder; default: that of TSUMUGU_DATA, if there is one.
        limit: at most so many documents.

    Raises:
        TsumuguError: neither can be read.
    """
    folder = data or Path(os.environ.get("TSUMUGU_DATA") or ".")
    limit = min(text.limit, limit or text.limit)
    if files := sorted(folder.glob(text.files)):
        texts = read_texts(Place(text.name, str(files[0])), limit=limit)
        return replace(texts, documents=tuple(replace(one, source=text.name) for one in texts.documents))
    try:
        return read_texts(Place(text.name, text.dataset), subset=text.subset, split=text.split, limit=limit)
    except (TsumuguError, OSError) as error:
        raise TsumuguError(
            f"the group has a text, {text.name}: there is no {text.files} in {folder}, and the dataset "
            f"cannot be read ({error}). Give one in its place: --text {text.name}=FILE"
        ) from error


def _read(place: Place, *, text_key: str, subset: str | None, split: str) -> Iterator[tuple[str, str] | str]:
    entry = Input(
        path=place.path,
        source=place.name,
        license="unknown",
        format=_format_of(place.path),
        text_key=text_key,
        metadata_keys=(_SOURCE,),
        subset=subset,
        split=split,
    )
    try:
        files = find_files([entry])
    except TsumuguError as error:
        # The reader speaks of recipes.
        reason = str(error).removeprefix("corpus.inputs: ").partition(" The demo's pages")[0]
        raise TsumuguError(f"--text {place.path}: {reason}") from error
    for shard in plan_shards(files, shard_bytes=_MAX_DOCUMENT_BYTES):
        for piece in shard:
            file = piece.file
            for record in read_records(piece, max_page_bytes=_MAX_DOCUMENT_BYTES):
                where = f"{file.name}, at {record.offset}"
                if isinstance(record, Failure):
                    yield f"{where}: {record.error}"
                elif isinstance(record, Page) and record.is_html:
                    yield f"{where}: HTML is not read here; a corpus run makes text of it"
                elif isinstance(record, Page):
                    yield record.metadata.get(_SOURCE) or _source_of(file, place), record.text


def _held_out(run: Path) -> Iterator[tuple[str, str] | str]:
    recipe = load_recipe(run / "recipe.yaml")
    paths = sorted((run / "corpus" / "documents").glob("*.parquet"))
    if not paths:
        raise TsumuguError(
            f"--text {run}: this run has no documents. Make them: tsumugu corpus {run / 'recipe.yaml'}"
        )
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["id", "source", "text"]):
            for row in batch.to_pylist():
                if is_validation(row["id"], seed=recipe.seed, fraction=recipe.tokens.validation_fraction):
                    yield row["source"], row["text"]


def _source_of(file: InputFile, place: Place) -> str:
    """The file, where a file holds many documents."""
    if file.kind == "dataset":
        # `NAME/SPLIT/00000-of-00005`: where a dataset is divided means nothing.
        return file.name.rpartition("/")[0]
    return place.name if file.kind == "text" else file.name


def _format_of(path: str) -> Literal["auto", "jsonl", "text"]:
    """A file that somebody names is text if nothing else; in a folder, other files may lie beside."""
    if is_url(path) or not Path(path).is_file() or _KNOWN.search(path):
        return "auto"
    return "jsonl" if _JSON.search(path) else "text"


def _name_of(word: str) -> str:
    path = word.rstrip("/")
    if not is_url(path) and (Path(path) / "recipe.yaml").is_file():
        return f"{Path(path).resolve().name}-validation"
    if is_dataset(path):
        return path.removeprefix("hf://datasets/").partition("@")[0]
    return _SUFFIX.sub("", path.rpartition("/")[2]).strip("*?.") or "text"
