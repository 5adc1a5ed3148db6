"""`tsumugu tokens show`: the tokens of a step, with the documents that they come from."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import read_documents
from tsumugu.cli import main
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.pipeline import run_stages
from tsumugu.recipe import load_recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.showing import DocumentPart, ShownBatch, ShownRow, render, samples_of, show
from tsumugu.tokens.split import is_validation
from tsumugu.training.config import PretrainConfig
from tsumugu.training.metrics import read_metrics
from tsumugu.training.schedule import samples_before


def without(run: Path, folder: Path, *names: str) -> Path:
    """A copy of a run folder that lacks some stages."""
    return Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns(*names)))


def check_documents(run: Path, shown: ShownBatch, *, padding: bool) -> None:
    """Every part is what the document of that id says at that place."""
    encoder = load_encoder(run / "tokenizer")
    texts = {document["id"]: document["text"] for document in read_documents(run / "corpus")}
    for row in shown.rows:
        column = 0
        for part in row.documents:
            assert part.column == column
            assert part.id is not None
            assert not is_validation(part.id, seed=1, fraction=0.1)
            ids = [encoder.bos_id, *encoder.encode_batch([texts[part.id]])[0], encoder.eos_id]
            assert part.document_tokens == len(ids)
            assert part.text == encoder.decode([int(i) for i in ids[part.first : part.first + part.tokens]])
            column += part.tokens
        assert column + row.padding == shown.sequence_length + 1
        assert padding or row.padding == 0


def test_it_shows_the_documents_of_a_step(finished_run: Path) -> None:
    shown = show(finished_run, 7)
    check_documents(finished_run, shown, padding=False)
    assert [(row.row, row.sample) for row in shown.rows] == [(0, 24), (1, 25), (2, 26), (3, 27)]
    (metrics,) = [
        row
        for row in read_metrics(finished_run / "pretrain" / "metrics.jsonl")
        if row["step"] == 7 and "loss" in row
    ]
    assert shown.metrics == metrics
    assert shown.from_recipe
    assert show(finished_run, 7, row=2).rows == [shown.rows[2]]


def test_recipe_tokenizer_and_tokens_are_enough(finished_run: Path, tmp_path: Path) -> None:
    run = without(finished_run, tmp_path, "corpus", "pretrain", "evaluate", "release", "report")
    shown = show(run, 7)
    assert shown.metrics is None
    assert {part.id for row in shown.rows for part in row.documents} == {None}
    whole = show(finished_run, 7)
    texts = [[part.text for part in row.documents] for row in shown.rows]
    assert texts == [[part.text for part in row.documents] for row in whole.rows]
    assert "has not been taken yet" in render(shown, run="RUN", whole=False)


def test_a_recipe_that_changed_since_is_said(finished_run: Path, tmp_path: Path) -> None:
    run = without(finished_run, tmp_path, "evaluate", "release", "report")
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace("global_batch_size: 4", "global_batch_size: 2"))
    assert "recipe.yaml has changed" in render(show(run, 7), run="RUN", whole=False)
    assert "recipe.yaml has changed" not in render(show(finished_run, 7), run="RUN", whole=False)


def test_a_packed_mixture_trains_and_shows_its_padding(finished_run: Path, tmp_path: Path) -> None:
    run = without(finished_run, tmp_path, "pretrain", "evaluate", "release", "report")
    words = [
        "pretrain.steps=6",
        "data.packing=best_fit",
        "data.document_boundaries=true",
        "data.mixture={test-pages: {weight: 1.0}}",
    ]
    run_stages(
        load_recipe(run / "recipe.yaml", words),
        run,
        last="pretrain",
        resources=Resources(1),
        say=lambda text: None,
    )
    shown = show(run, 2)
    check_documents(run, shown, padding=True)
    counts = read_json(run / "pretrain" / "manifest.json")["counts"]
    assert counts["sources"]["test-pages"]["share"] == 1.0
    assert counts["upsampled"] == []
    before = sorted((run / "pretrain").rglob("*"))
    shutil.rmtree(run / "pretrain" / "packing")
    assert show(run, 2).rows == shown.rows
    assert sorted((run / "pretrain").rglob("*")) == [path for path in before if "packing" not in path.parts]


GROWING = PretrainConfig.model_validate(
    {
        "steps": 40,
        "global_batch_size": 8,
        "sequence_length": 64,
        "optimizer": {"learning_rate": 0.01},
        "batch_size_warmup": {"start": 2, "steps": 12},
    }
)


def test_samples_are_the_plans_until_a_row_says_otherwise() -> None:
    for step in (1, 5, 12, 13, 40):
        first, last = (samples_before(number, GROWING) for number in (step, step + 1))
        assert samples_of(step, GROWING, []) == [range(first, last)]
    # Step 2 was left out after a rewind; step 3 jumped over what step 2 had read.
    taken: list[dict[str, object]] = [
        {"step": 1, "samples": 2},
        {"step": 2, "samples": 6},
        {"step": 3, "samples": 10, "read": [[6, 7], [9, 10]]},
    ]
    assert samples_of(1, GROWING, taken) == [range(0, 2)]
    assert samples_of(2, GROWING, taken) == [range(4, 6)]
    assert samples_of(3, GROWING, taken) == [range(6, 7), range(9, 10)]
    # The plan goes on from the last row.
    assert samples_before(4, GROWING) == 6
    assert samples_of(4, GROWING, taken)[0].start == 10
    assert samples_of(20, GROWING, taken)[0].start == samples_before(20, GROWING) + 4


def test_a_run_that_left_steps_out_shows_what_was_read(finished_run: Path, tmp_path: Path) -> None:
    run = without(finished_run, tmp_path, "evaluate", "release", "report")
    path = run / "pretrain" / "metrics.jsonl"
    rows = [row for row in read_metrics(path) if row["step"] <= 8]
    rows[6] |= {"samples": 32, "read": [[24, 26], [30, 32]]}
    rows[7] = {"step": 8, "tokens": 0, "samples": 36, "seconds": 1.0}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = show(run, 7)
    assert [(row.row, row.sample) for row in shown.rows] == [(0, 24), (1, 25), (2, 30), (3, 31)]
    check_documents(run, shown, padding=False)
    assert show(run, 7, row=2).rows == [shown.rows[2]]
    assert "this step was not applied" in render(show(run, 8), run="RUN", whole=False)
    # What comes is known as long as nothing is left out.
    assert [row.sample for row in show(run, 9).rows] == [36, 37, 38, 39]
    assert not show(run, 9).note
    events = run / "pretrain" / "events.jsonl"
    events.write_text(json.dumps({"event": "skipped", "step": 8, "samples": [[32, 36]]}) + "\n")
    assert "note: steps of this run were left out" in render(show(run, 9), run="RUN", whole=False)
    assert not show(run, 7).note


def test_the_command_says_which_step_it_shows(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokens", "show", str(finished_run), "--batch", "3"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("batch 3: what the model reads in training step 3 of 40\n")
    assert 'the row with "step": 3 in metrics.jsonl' in first
    assert main(["tokens", "show", str(finished_run), "--step", "3"]) == 0
    assert capsys.readouterr().out == first
    assert main(["tokens", "show", str(finished_run), "--batch", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["batch"] == answer["metrics"]["step"] == 3
    assert len(answer["rows"]) == 4


@pytest.mark.parametrize("batch", [0, 41, -1])
def test_a_step_that_the_run_has_not_is_refused(finished_run: Path, batch: int) -> None:
    with pytest.raises(TsumuguError, match="choose from 1 to 40"):
        show(finished_run, batch)
    with pytest.raises(TsumuguError, match="choose from 0 to 3"):
        show(finished_run, 1, row=4)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="holds no recipe.yaml"):
        show(tmp_path, 1)


def test_texts_cannot_command_the_terminal() -> None:
    part = DocumentPart(
        0, 5, "web\x1b[2J", "train/000/00000.npy", 3, None, 0, 9, "一行目\n\x1b]0;title\x07二行目\u202e"
    )
    shown = ShownBatch(1, 2, 4, None, True, [ShownRow(0, 0, 1, 0, [part])])
    for whole in (True, False):
        text = render(shown, run="RUN", whole=whole)
        assert not any(character in text for character in "\x1b\x07\u202e")
        assert "    一行目\n    ⟨U+001B⟩]0;title" in text
