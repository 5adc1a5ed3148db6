"""The `tsumugu` command: words in, one function called. Heavy imports wait until they are needed."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsumugu import __version__
from tsumugu.corpus.questions import QUESTIONS as CORPUS
from tsumugu.errors import Stopped, TsumuguError
from tsumugu.evaluation.questions import QUESTIONS as EVALUATE
from tsumugu.planning.command import EXAMPLES as PLAN_EXAMPLES
from tsumugu.planning.command import PLAN, add_plan_arguments, answer_plan
from tsumugu.questions import find_question, parse_question, positive_number
from tsumugu.release.questions import QUESTIONS as RELEASE
from tsumugu.study.command import EXAMPLES as STUDY_EXAMPLES
from tsumugu.study.command import STUDY, add_study_arguments, answer_study
from tsumugu.talking.arguments import (
    CHAT,
    GENERATE,
    add_chat_arguments,
    add_generate_arguments,
    answer_chat,
    answer_generate,
)
from tsumugu.tokenizer.questions import QUESTIONS as TOKENIZER
from tsumugu.tokens.questions import QUESTIONS as TOKENS

if TYPE_CHECKING:
    from tsumugu.recipe import Recipe

_DESCRIPTION = """\
Raw Japanese web pages in, a released and evaluated language model out.

A recipe is one YAML file that describes a whole run. Each stage reads what the stages before it
wrote, and writes one folder of the run: corpus -> tokenizer -> tokens -> pretrain -> evaluate ->
release (-> tune) -> report. Stop a run at any moment and start the same command again: it goes on."""

_EXAMPLES = """\
examples:
  tsumugu run recipes/demo.yaml                      everything, into runs/demo
  tsumugu run recipes/demo.yaml pretrain.steps=100   the same with another value
  tsumugu corpus recipes/demo.yaml --run /tmp/try    the pages only, into another folder
  tsumugu corpus what-if runs/demo too_short=300     what another threshold would keep and drop
  tsumugu plan RECIPE --cluster 64xA100-80GB         memory, time and price, before you pay
  tsumugu tokens export runs/demo /tmp/megatron      token shards for Megatron-LM
  tsumugu generate runs/demo/release この章では        what a model writes next
  tsumugu chat runs/instruct/release                 a conversation in the terminal
  tsumugu schema > recipe.schema.json                for editors that complete and check YAML"""

_STAGES = {
    "corpus": (
        "pages to clean documents",
        "Reads web archives, HTML, JSON Lines, Parquet, text and datasets, extracts the main text, masks\n"
        "personal data, measures signals, applies the recipe's rules, and removes duplicates. Writes\n"
        "corpus/documents (what stays), corpus/decisions (every document with its signals and the reason\n"
        "why it went) and corpus/quarantine (what could not be read).\n\n"
        "Afterwards (each has its own --help):\n"
        "  tsumugu corpus explain RUN ID              the story of one document\n"
        "  tsumugu corpus what-if RUN too_short=300   other thresholds, in seconds, from stored signals\n"
        "  tsumugu corpus compare RUN_A RUN_B         two runs side by side",
    ),
    "tokenizer": (
        "documents to a SentencePiece tokenizer",
        "Trains a unigram model with byte fallback on the training documents and exports its fast\n"
        "twin, which must give the same ids on every held-out document. Load it with AutoTokenizer.\n\n"
        "Afterwards (has its own --help):\n"
        "  tsumugu tokenizer compare DIR_A DIR_B      the same text split by several tokenizers",
    ),
    "tokens": (
        "documents to token shards",
        "Holds out the validation documents and writes memory-mapped shards of token ids, by source.\n\n"
        "Afterwards (each has its own --help):\n"
        "  tsumugu tokens verify RUN                  every byte against the checksums\n"
        "  tsumugu tokens export RUN DIR              indexed datasets for Megatron-LM\n"
        "  tsumugu tokens show RUN --batch K          what the model reads in training step K",
    ),
    "pretrain": (
        "token shards to a trained model",
        "Trains the recipe's model. Follow pretrain.partial/metrics.jsonl while it works. After a stop, or\n"
        "SIGTERM, the same command goes on from the newest checkpoint and ends with the same weights, bit\n"
        "for bit on the same layout of the same devices.\n\n"
        "On several devices torchrun starts it, when the stages before it are done (tsumugu tokens RECIPE):\n"
        "  torchrun --standalone --nproc-per-node 8 -m tsumugu pretrain RECIPE --run-folder DIR\n"
        "Its option --run is spelled --run-folder there, and pretrain.layout says how they share the work.",
    ),
    "evaluate": (
        "scores beside n-gram baselines",
        "Perplexity per token, character and byte on the held-out documents, the same for a unigram,\n"
        "a bigram and a Kneser-Ney model of the training tokens, and multiple-choice tasks through\n"
        "lm-evaluation-harness.\n\n"
        "Any model, ours or of others (each has its own --help):\n"
        "  tsumugu evaluate model MODEL --text FILE   any model on any text and task\n"
        "  tsumugu evaluate compare DIR_A DIR_B       what they left, in one table with tests\n"
        "  tsumugu evaluate tasks                     the tasks and groups there are",
    ),
    "release": (
        "a Hugging Face model directory",
        "Writes config, safetensors, tokenizer, generation settings, a model card, LICENSE and SHA256SUMS,\n"
        "then loads them with transformers and refuses a release whose logits differ from ours.\n\n"
        "Afterwards, and before (each has its own --help):\n"
        "  tsumugu release export CHECKPOINT DIR      any checkpoint as a model directory\n"
        "  tsumugu release check DIR                  a model directory as a stranger meets it\n"
        "  tsumugu release push DIR OWNER/NAME        to the Hugging Face hub\n"
        "  tsumugu release gguf DIR                   one file for llama.cpp",
    ),
    "tune": (
        "the released model taught to answer",
        "Instruction tuning with TRL and PEFT (extra `tune`): conversations are read, deduplicated, kept\n"
        "apart from evaluation sets and written in a chat template; the model learns the assistant's words\n"
        "alone, all weights or LoRA, and then preferences (DPO) if asked. Writes a Hugging Face directory,\n"
        "the loss of held-out answers, and answers before and after. Needs the recipe's section tune.",
    ),
    "report": (
        "one page that shows the run",
        "Writes report.html: where the documents went and why, signals and thresholds, tokenizer, training\n"
        "curve, scores and samples. It needs no network and no server.",
    ),
}

_PATIENCE = 15.0
"""Seconds in which torchrun ends the other processes when one has failed."""

_QUESTIONS = {
    "corpus": CORPUS,
    "tokenizer": TOKENIZER,
    "tokens": TOKENS,
    "evaluate": EVALUATE,
    "release": RELEASE,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return _answer(*parse(list(sys.argv[1:] if arguments is None else arguments)))


def parse(words: list[str]) -> tuple[Callable[[argparse.Namespace], None], argparse.Namespace]:
    """The function that a command line calls, and with what.

    Raises:
        SystemExit: a mistake, which is told, or a wish for help, which is granted.
    """
    if question := find_question(_QUESTIONS, words):
        return question.answer, parse_question(question, words)
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    # argparse gives up on positional arguments that stand behind an option.
    if rest:
        more = next((vars(options)[name] for name in ("overrides", "prompts") if name in options), None)
        if more is None or any(word.startswith("-") and word != "-" for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        more += rest
    return options.function, options


def _answer(function: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    try:
        function(options)
    except Stopped as stop:
        if _rank() == 0:
            print(stop, file=sys.stderr)
        return 128 + signal.SIGTERM
    except TsumuguError as error:
        _let_the_first_speak()
        return _tell(error)
    except BrokenPipeError:
        # Whoever reads has read enough (`| head`); nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Full disks, missing rights: the system's own words name the file.
        return _tell(error)
    except KeyboardInterrupt:
        if _rank() == 0:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _tell(error: Exception) -> int:
    speaker = f"process {_rank()}: " if _rank() else ""
    print(f"error: {speaker}{error}", file=sys.stderr)
    return 1


def _let_the_first_speak() -> None:
    """Wait to be ended by torchrun, which does that as soon as another process ends with an error.

    Errors of this kind are found by all processes alike, and one of them is enough to tell.
    """
    if _rank() > 0:
        time.sleep(_PATIENCE)


def _rank() -> int:
    """Of this process among those that torchrun started."""
    return int(os.environ.get("RANK", "0"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tsumugu",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tsumugu {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _add(commands, "run", "the whole recipe, from pages to report", _DESCRIPTION, _run)
    _add_recipe_arguments(run)
    run.set_defaults(stage=None)
    for name, (summary, text) in _STAGES.items():
        text += "\n\nStages before it that are not done yet are run first."
        stage = _add(commands, name, summary, text, _run)
        _add_recipe_arguments(stage)
        stage.set_defaults(stage=name)

    plan = _add(commands, "plan", "what a recipe takes on a cluster, before you pay", PLAN, answer_plan)
    plan.epilog = PLAN_EXAMPLES
    _add_recipe(plan)
    add_plan_arguments(plan)

    study = _add(commands, "study", "a recipe trained in several ways, side by side", STUDY, answer_study)
    study.epilog = STUDY_EXAMPLES
    add_study_arguments(study)

    add_generate_arguments(_add(commands, "generate", "what a model writes next", GENERATE, answer_generate))
    add_chat_arguments(_add(commands, "chat", "a conversation with a model", CHAT, answer_chat))

    text = "Prints the recipe's JSON schema: every key, its type, its default and what it means."
    _add(commands, "schema", "the recipe's JSON schema", text, _schema)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    text: str,
    function: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=summary, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.set_defaults(function=function)
    return command


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "recipe", type=Path, metavar="RECIPE", help="a YAML file, for example recipes/demo.yaml"
    )
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="another value for a key, for example pretrain.steps=100",
    )


def _add_recipe_arguments(command: argparse.ArgumentParser) -> None:
    _add_recipe(command)
    # torchrun takes `--run` for one of its own options, wherever it stands.
    command.add_argument(
        "--run", "--run-folder", type=Path, metavar="DIR", dest="folder", help="default: runs/NAME"
    )
    command.add_argument(
        "--workers",
        type=positive_number,
        metavar="N",
        help="processes for corpus and tokens (default: one per CPU)",
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="look at everything that can be known beforehand, and run nothing",
    )
    command.add_argument(
        "--cluster", metavar="CLUSTER", help="with --dry-run: the devices to plan for, such as 64xA100-80GB"
    )
    command.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where corpus and tokens work: this machine's processes (default), or a Ray cluster",
    )


def _run(options: argparse.Namespace) -> None:
    from tsumugu.engine import Resources
    from tsumugu.pipeline import run_stages, say_on_stderr
    from tsumugu.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    folder = options.folder or Path("runs") / recipe.name
    if options.dry_run:
        _dry_run(recipe, folder, options)
        return
    if options.cluster:
        raise TsumuguError("--cluster is for --dry-run; `tsumugu plan` says what a cluster takes")
    workers = options.workers or len(os.sched_getaffinity(0))
    resources = Resources(workers, options.engine)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if options.stage != "pretrain":
            raise TsumuguError(
                "torchrun starts several processes, and only `tsumugu pretrain` knows what to do with them. "
                "Run the other stages without torchrun; tune.processes says on how many devices to tune"
            )
        from tsumugu.training.stage import pretrain_together

        pretrain_together(recipe, folder, resources=resources)
        return
    _refuse_for_one_process(recipe, folder, options.stage)
    run_stages(recipe, folder, last=options.stage, resources=resources, say=say_on_stderr)
    if options.stage in (None, "report"):
        _print_result(folder, has_tune=recipe.tune is not None)


def _dry_run(recipe: "Recipe", folder: Path, options: argparse.Namespace) -> None:
    from tsumugu.planning.dry_run import checks_text, dry_run

    checks = dry_run(recipe, folder, last=options.stage, cluster=options.cluster)
    print(checks_text(checks))
    if any(check.verdict == "error" for check in checks):
        raise TsumuguError("the run would not come to its end")


def _refuse_for_one_process(recipe: "Recipe", folder: Path, stage: str | None) -> None:
    """A layout of several processes is told before the stages in front of the training take hours."""
    trains = stage not in ("corpus", "tokenizer", "tokens") and not (folder / "pretrain").exists()
    needed = recipe.pretrain.layout.least_processes
    if trains and needed > 1:
        raise TsumuguError(
            f"pretrain.layout needs {needed} processes, and this is one. Run `tsumugu tokens RECIPE` first, "
            f"then `torchrun --nproc-per-node N -m tsumugu pretrain RECIPE`, then this again"
        )


def _print_result(folder: Path, *, has_tune: bool) -> None:
    from tsumugu.files import read_json

    scores = read_json(folder / "evaluate" / "scores.json")
    models = scores["perplexity"]["models"]
    sample = read_json(folder / "report" / "manifest.json")["counts"]["samples"][0]
    print(f"\nmodel    {folder / 'release'}")
    tuned = folder / "tune" / "manifest.json"
    if has_tune:
        print(f"tuned    {folder / 'tune'}")
    print(f"scores   {folder / 'evaluate' / 'scores.json'}")
    print(f"report   {folder / 'report.html'}")
    print(f"\nheld-out perplexity per token {models['model']['perplexity_per_token']:.2f}")
    width = max(map(len, models))
    for name, found in models.items():
        print(f"held-out bits per byte  {name:{width}}  {found['bits_per_byte']:.4f}")
    for name, found in scores["tasks"].items():
        metric = found["main_metric"]
        value, error = found["metrics"][metric]["value"], found["metrics"][metric]["stderr"]
        spread = "" if error is None else f" ± {error:.3f}"
        chance = "" if found["chance"] is None else f" (chance {found['chance']:.2f})"
        print(f"{metric} on {name}  {value:.3f}{spread}{chance}")
    if has_tune:
        loss = read_json(tuned)["counts"]["answer_loss"]
        print(f"held-out answer loss  {loss['before']:.4f} before tuning, {loss['after']:.4f} after")
    print(f"\n{sample['prompt']}{sample['continuation']}")


def _schema(options: argparse.Namespace) -> None:
    from tsumugu.recipe import recipe_schema

    print(json.dumps(recipe_schema(), ensure_ascii=False, indent=2))
