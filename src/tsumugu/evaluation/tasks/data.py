"""The data sets of the tasks: from local files where there are some, else from the Hugging Face hub.

Local files lie in the folder that the environment variable `TSUMUGU_DATA` names (`--data DIR` sets
it), or in its subfolder `jglue`. A data set comes from one place as a whole: if the split that is
evaluated is a local file, the examples of few-shot prompts are local too, or they are taken from
the evaluated split. Nothing is ever run that came with a data set.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.tasks.records import EXAMPLES, Row, read_records

DATA_VARIABLE = "TSUMUGU_DATA"
TRAIN, TEST = "train", "test"
"""Split names of our tasks: examples for prompts, and what is evaluated (whatever the release calls it)."""


@dataclass(frozen=True)
class HubSet:
    """A data set on the hub that `datasets.load_dataset` reads without a script."""

    path: str
    name: str | None
    splits: Mapping[str, str]
    """Our split name to the hub's."""


@dataclass(frozen=True)
class HubFiles:
    """Files of an official release that lie on the hub beside a script: only they are fetched."""

    path: str
    files: Mapping[str, str]
    """Our split name to the file."""


@dataclass(frozen=True)
class Source:
    """Where the splits of one data set may come from."""

    files: Mapping[str, tuple[str, ...]]
    """Our split name to patterns of local files; the first that exists is taken."""
    hub: HubSet | HubFiles


def _jglue(stem: str, name: str) -> Source:
    return Source(
        files={
            TRAIN: (f"{stem}-train.json", f"{stem}-v*/train-v*.json"),
            TEST: (f"{stem}-valid.json", f"{stem}-v*/valid-v*.json"),
        },
        # Of the JGLUE copies on the hub, the one that lm-evaluation-harness uses.
        hub=HubSet("Rakuten/JGLUE", name, {TRAIN: "train", TEST: "validation"}),
    )


SOURCES: dict[str, Source] = {
    "jsquad": _jglue("jsquad", "JSQuAD"),
    "jcommonsenseqa": _jglue("jcommonsenseqa", "JCommonsenseQA"),
    "jnli": _jglue("jnli", "JNLI"),
    "jsts": _jglue("jsts", "JSTS"),
    "marc_ja": _jglue("marc_ja", "MARC-ja"),
    "jaqket": Source(
        files={
            TRAIN: ("jaqket-train.json", "train_jaqket_59.350.json"),
            TEST: ("jaqket-valid.json", "dev_jaqket_59.350.json"),
        },
        hub=HubFiles("kumapo/JAQKET", {TRAIN: "train_jaqket_59.350.json", TEST: "dev_jaqket_59.350.json"}),
    ),
    "xlsum": Source(
        files={
            TRAIN: ("xlsum-train.jsonl", "japanese_train.jsonl"),
            TEST: ("xlsum-test.jsonl", "japanese_test.jsonl"),
        },
        hub=HubSet("mkshing/xlsum_ja", None, {TRAIN: "train", TEST: "test"}),
    ),
    "xwinograd": Source(
        files={TEST: ("xwinograd-test.jsonl", "jp.jsonl")},
        hub=HubSet("polm-stability/xwinograd-ja", None, {TEST: "test"}),
    ),
    "mgsm": Source(
        files={TRAIN: ("mgsm-train.jsonl",), TEST: ("mgsm-test.jsonl", "mgsm_ja.tsv")},
        hub=HubSet("juletxara/mgsm", "ja", {TRAIN: "train", TEST: "test"}),
    ),
    "aio": Source(
        files={TRAIN: ("aio-train.jsonl",), TEST: ("aio-valid.jsonl", "aio_*_dev*.jsonl")},
        hub=HubSet("sbintuitions/aio-extended-answers", None, {TEST: "validation"}),
    ),
    "niilc": Source(
        files={TRAIN: ("niilc-valid.jsonl",), TEST: ("niilc-test.jsonl",)},
        hub=HubSet("sbintuitions/niilc-qa", "v1.2", {TRAIN: "validation", TEST: "test"}),
    ),
    "jemhopqa": Source(
        files={
            TRAIN: ("jemhopqa-train.json", "train_ver1.*.json"),
            TEST: ("jemhopqa-valid.json", "dev_ver1.*.json"),
        },
        hub=HubSet("sbintuitions/JEMHopQA", "v1.1", {TRAIN: "train", TEST: "validation"}),
    ),
    "jmmlu": Source(
        files={TEST: ("jmmlu", "JMMLU/test", "JMMLU.zip")},
        hub=HubFiles("nlp-waseda/JMMLU", {TEST: "JMMLU.zip"}),
    ),
}


def load(data_set: str, **metadata: object) -> datasets.DatasetDict:
    """The examples of a data set, by split; what the task files name as `custom_dataset`.

    Args:
        data_set: a key of `SOURCES`.
        metadata: the task file's own, which the harness passes along and nobody needs here.

    Returns:
        Always the split `test`, and `train` where the release has one and it is at hand.

    Raises:
        TsumuguError: the data set is neither among the local files nor to be had from the hub.
    """
    if data_set not in SOURCES:
        raise TsumuguError(f"there is no data set {data_set!r}; there are {', '.join(sorted(SOURCES))}")
    rows = local_rows(data_set) or _hub_rows(data_set)
    example = EXAMPLES[data_set]
    return datasets.DatasetDict(
        {split: datasets.Dataset.from_list([example(row) for row in found]) for split, found in rows.items()}
    )


def data_folder() -> Path | None:
    """The folder of local files, if one is named.

    Raises:
        TsumuguError: the variable names something that is not a folder.
    """
    named = os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise TsumuguError(f"{DATA_VARIABLE} (--data) names {folder}, which is not a folder")
    return folder


def local_file(data_set: str, split: str) -> Path | None:
    """The local file (or folder of files) of a split, if there is one."""
    folder = data_folder()
    if folder is None:
        return None
    for place in (folder, folder / "jglue"):
        for pattern in SOURCES[data_set].files.get(split, ()):
            found = sorted(place.glob(pattern))
            if found:
                return found[-1]
    return None


def local_rows(data_set: str) -> dict[str, list[Row]]:
    """The local splits of a data set; none at all where the one that is evaluated is missing."""
    if local_file(data_set, TEST) is None:
        return {}
    paths = {split: local_file(data_set, split) for split in (TRAIN, TEST)}
    return {split: read_records(data_set, path) for split, path in paths.items() if path is not None}


def _hub_rows(data_set: str) -> dict[str, list[Row]]:
    hub = SOURCES[data_set].hub
    try:
        if isinstance(hub, HubSet):
            found = datasets.load_dataset(hub.path, hub.name)
            # Only the evaluated split has to be there.
            wanted = {split: there for split, there in hub.splits.items() if there in found or split == TEST}
            return {split: list(found[there]) for split, there in wanted.items()}
        return {split: read_records(data_set, _fetch(hub.path, file)) for split, file in hub.files.items()}
    except Exception as error:
        raise TsumuguError(missing(data_set, error)) from error


def _fetch(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, file, repo_type="dataset"))


def missing(data_set: str, error: Exception) -> str:
    """What to say where a data set is neither local nor to be had from the hub."""
    source = SOURCES[data_set]
    named = os.environ.get(DATA_VARIABLE)
    looked = (
        f"in {named} and {Path(named, 'jglue')}" if named else f"({DATA_VARIABLE} and --data name no folder)"
    )
    first_line = (str(error).strip().splitlines() or [""])[0]
    return (
        f"the data set {data_set} is not at hand. "
        f"Local files: no {' or '.join(source.files[TEST])} {looked}. "
        f"Hugging Face hub: {source.hub.path} could not be loaded ({type(error).__name__}: {first_line}). "
        f"Either run where the hub can be reached (and without HF_HUB_OFFLINE=1), or put the file into a "
        f"folder and name it with --data DIR; docs/tasks.md says where each file is published."
    )
