"""The questions of `tsumugu release export | check | push | gguf`."""

import argparse
import re
from pathlib import Path

from tsumugu.questions import Options, Parser, Question, add_json

_EXPORT = """\
Writes a Hugging Face directory of any checkpoint, whatever layout trained it, of a training that is not done
too: weights, configuration, generation settings, tokenizer, model card, LICENSE and SHA256SUMS.

PLACE is a run folder, whose newest checkpoint is taken, or a checkpoint (RUN/pretrain/checkpoints/step-N).
A parameter at a time is in memory, never the model."""

_CHECK = """\
Looks at a model directory as a stranger would, and lists what it finds: SHA256SUMS, pickled files and code,
chat templates, weights and their index, the card through huggingface_hub's own parser; then loads model and
tokenizer with transformers, compares the ids with those of spiece.model if there is one, and the logits with
those of Tsumugu's decoder, and writes a few tokens. Ends with status 1 if anything is wrong."""

_PUSH = """\
Uploads a release to the Hugging Face hub, in one commit: the files that SHA256SUMS lists, and no others. What
tsumugu release check finds wrong is not uploaded. Asks before it does anything, unless --yes says so."""

_GGUF = """\
Writes a model directory as one file for llama.cpp, tokenizer, chat template and sampling settings included
(extra `gguf`). A tensor at a time is in memory. llama-quantize of llama.cpp makes more forms of an f16 file.

The tokenizer must be a SentencePiece unigram model with byte fallback that takes text as it is, as those are
that Tsumugu trains. docs/release.md says what llama.cpp computes differently."""

# Those of `ReleaseConfig`, which `tsumugu --help` does not wait for.
_DTYPES = ("float32", "bfloat16", "float16")
# Those of `gguf_export.KINDS`, which does not come without torch.
_KINDS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")


def _shard_size(text: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(KB|MB|GB|TB)", text):
        raise argparse.ArgumentTypeError(f"{text} is no size; write 5GB, or 500MB")
    return text


def _export_arguments(parser: Parser) -> None:
    parser.add_argument("place", type=Path, metavar="PLACE", help="see above")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; it must not be there yet")
    parser.add_argument("--dtype", choices=_DTYPES, help="of the weights; default: the recipe's")
    parser.add_argument(
        "--max-shard-size", type=_shard_size, metavar="SIZE", help="of a file, 5GB; default: the recipe's"
    )


def _export(options: Options) -> None:
    from tsumugu.release.export import export

    checkpoint = export(
        options.place, options.folder, dtype=options.dtype, max_shard_size=options.max_shard_size
    )
    print(f"{options.folder}  from {checkpoint}")
    print(f"look at it as a stranger would: tsumugu release check {options.folder}")


def _folder_argument(parser: Parser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="for example runs/demo/release")


def _check_arguments(parser: Parser) -> None:
    _folder_argument(parser)
    add_json(parser)


def _check(options: Options) -> None:
    from tsumugu.errors import TsumuguError
    from tsumugu.questions import print_answer
    from tsumugu.release.check import check_release

    answer = check_release(options.folder)
    print_answer(options, answer, answer.render())
    if answer.wrong:
        raise TsumuguError(f"{options.folder}: {len(answer.wrong)} of {len(answer.findings)} are wrong")


def _push_arguments(parser: Parser) -> None:
    _folder_argument(parser)
    parser.add_argument("name", metavar="OWNER/NAME", help="of the model on the hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make it a private one")
    parser.add_argument("--branch", metavar="NAME", help="default: main")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _push(options: Options) -> None:
    from tsumugu.errors import TsumuguError
    from tsumugu.release.check import check_release
    from tsumugu.release.push import push, refuse_faulty

    check = check_release(options.folder)
    print(check.render())
    refuse_faulty(check, options.name)
    kind = "a private" if options.private else "a public"
    if not options.yes and not _agreed(f"upload it to {options.name}, {kind} repository if it is new?"):
        raise TsumuguError("nothing was uploaded")
    print(push(check, options.name, private=options.private, branch=options.branch))


def _gguf_arguments(parser: Parser) -> None:
    _folder_argument(parser)
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="OUT",
        help="default: MODEL-TYPE.gguf beside DIR; never one that is there",
    )
    parser.add_argument("--type", choices=_KINDS, help="of the matrices; default: as they are stored")


def _gguf(options: Options) -> None:
    from tsumugu.release.gguf_export import export_gguf

    written = export_gguf(options.folder, options.file, kind=options.type)
    print(f"{written.path}  {written.tensors} tensors, {written.kind}, {written.bytes:,} bytes")
    if written.coarse:
        print(
            f"{len(written.coarse)} matrices are f16, since their rows are no multiple of a block of "
            f"{written.kind}: {', '.join(written.coarse[:3])}"
        )


def _agreed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


QUESTIONS = {
    "export": Question(
        _EXPORT,
        (
            "runs/demo /tmp/demo --dtype bfloat16",
            "runs/big/pretrain.partial/checkpoints/step-9000 big-9000 --dtype bfloat16 --max-shard-size 2GB",
        ),
        _export_arguments,
        _export,
    ),
    "check": Question(
        _CHECK, ("runs/demo/release", "~/Downloads/some-model --json"), _check_arguments, _check
    ),
    "push": Question(
        _PUSH,
        (
            "runs/demo/release my-name/my-model --private",
            "runs/demo/release my-name/my-model --branch v1 --yes",
        ),
        _push_arguments,
        _push,
    ),
    "gguf": Question(
        _GGUF,
        ("runs/demo/release", "runs/demo/tune demo-chat.gguf --type q8_0"),
        _gguf_arguments,
        _gguf,
    ),
}
