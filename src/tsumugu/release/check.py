"""`tsumugu release check`: a directory as a stranger meets it.

First what can be known without running anything: sums, pickles, templates, weights and their index, the
card. Then, unless that failed, through transformers alone: load, spell, write. Nothing is fetched, and
no code of the directory is run.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.release.adapter import TheirWeights, config_from_hugging_face
from tsumugu.release.card_check import check_card
from tsumugu.release.loading_check import check_loading
from tsumugu.release.sums import SUMS, released_files, wrong_sums
from tsumugu.release.weight_files import pickles, read_weights
from tsumugu.tokenizer.templates import refuse_hostile_templates


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Check:
    """All that was found."""

    folder: Path
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[Finding]:
        """What is not as it should be."""
        return [finding for finding in self.findings if not finding.ok]

    def to_json(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "folder": str(self.folder),
            "ok": not self.wrong,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def render(self) -> str:
        """A line for each finding."""
        width = max(len(finding.subject) for finding in self.findings)
        return "\n".join(
            f"{'ok   ' if finding.ok else 'WRONG'}  {finding.subject:{width}}  {finding.text}"
            for finding in self.findings
        )


def check_release(folder: Path) -> Check:
    """Look at everything, and stop where the rest would run what cannot be trusted.

    Raises:
        TsumuguError: there is no such directory.
    """
    if not (folder / "config.json").is_file():
        raise TsumuguError(f"{folder} is not a model directory: it has no config.json")
    findings: list[Finding] = []

    def look(subject: str, check: Callable[[Path], Iterator[str]]) -> bool:
        try:
            findings.extend([Finding(subject, True, text) for text in check(folder)])
        except TsumuguError as error:
            findings.append(Finding(subject, False, str(error)))
            return False
        return True

    look("sums", _sums)
    safe = [look("code", _code), look("templates", _templates), look("weights", _weights)]
    look("card", check_card)
    if all(safe):
        look("loading", check_loading)
    else:
        findings.append(Finding("loading", False, "not tried, because of what is wrong above"))
    return Check(folder, tuple(findings))


def _sums(folder: Path) -> Iterator[str]:
    if wrong := wrong_sums(folder):
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TsumuguError(f"{'; '.join(wrong[:5])}{more}")
    yield f"{len(released_files(folder))} files are those of {SUMS}"


def _code(folder: Path) -> Iterator[str]:
    if found := pickles(folder):
        raise TsumuguError(
            f"{', '.join(found)}: pickled files can run any code when they are loaded. Take them out; "
            f"the weights belong into safetensors"
        )
    if found := [name for name in released_files(folder) if name.endswith(".py")]:
        raise TsumuguError(f"{', '.join(found)}: the model comes with code of its own")
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        settings = _read(path) if path.is_file() else {}
        if "auto_map" in settings:
            raise TsumuguError(f"{path.name} names code of its own (auto_map), which would be run")
    for name in released_files(folder):
        if (folder / name).is_symlink() and not _in_hub_cache(folder, (folder / name).resolve()):
            raise TsumuguError(f"{name} is a link; a release holds its files")
    yield "no pickled files, no code of its own"


def _in_hub_cache(folder: Path, target: Path) -> bool:
    """What huggingface_hub fetched are links from `snapshots/REVISION` to `blobs`."""
    return target.parent == folder.resolve().parent.parent / "blobs"


def _templates(folder: Path) -> Iterator[str]:
    count = refuse_hostile_templates(folder)
    yield f"{count} chat templates, of harmless parts" if count else "no chat template"


def _weights(folder: Path) -> Iterator[str]:
    config = _read(folder / "config.json")
    stored = read_weights(folder)
    files = len({tensor.file for tensor in stored.values()})
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in stored.values()}
    stated = config.get("dtype") or config.get("torch_dtype")
    if stated is not None and kinds != {stated}:
        raise TsumuguError(f"config.json says {stated}, and the weights are {', '.join(sorted(kinds))}")
    for name, tensor in stored.items():
        if tensor.dtype.is_floating_point and not all(
            # In float32, which knows this of every smaller kind.
            bool(block.to(torch.float32).isfinite().all())
            for _, block in tensor.blocks()
        ):
            raise TsumuguError(f"{name} holds numbers that are not finite")
    # Families that our decoder lacks are for transformers to load.
    if config.get("model_type") in ("gpt2", "gpt_neox", "llama", "qwen3"):
        weights = TheirWeights(stored, config_from_hugging_face(config))
        if weights.vocab_size != config.get("vocab_size", weights.vocab_size):
            raise TsumuguError(
                f"config.json says vocab_size = {config['vocab_size']}, and the embedding has "
                f"{weights.vocab_size} rows"
            )
    places = f"{files} file{'' if files == 1 else 's'}"
    yield f"{len(stored)} tensors in {places}, {', '.join(sorted(kinds))}, finite, as config.json says"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise TsumuguError(f"{path.name} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise TsumuguError(f"{path.name} is damaged: it is no JSON object")
    return found
