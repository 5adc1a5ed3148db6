"""The evaluation of a finished run, and the task that ships with it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import read_documents
from tsumugu.evaluation.stage import read_held_out
from tsumugu.evaluation.tasks.task_files import TASK_FOLDER
from tsumugu.files import read_json, write_json
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.shards import open_tokens
from tsumugu.tokens.split import is_validation

QUESTIONS = [
    json.loads(line) for line in (TASK_FOLDER / "kotowari.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_scores_stand_beside_the_baselines(finished_run: Path) -> None:
    scores = read_json(finished_run / "evaluate" / "scores.json")
    found = scores["perplexity"]
    assert list(found["models"]) == ["unigram", "bigram", "kneser_ney_5gram", "model"]
    for model in found["models"].values():
        low, high = model["bits_per_byte_interval"]
        assert low <= model["bits_per_byte"] <= high
        assert np.log(model["perplexity_per_byte"]) == pytest.approx(
            np.log(model["perplexity_per_token"]) * found["tokens"] / found["bytes"]
        )
    assert found["models"]["bigram"]["bits_per_byte"] < found["models"]["unigram"]["bits_per_byte"]
    assert scores["tasks"]["kotowari"]["questions"] == 96
    metrics = scores["tasks"]["kotowari"]["metrics"]
    assert set(metrics) == {"acc", "acc_norm"}
    assert 0 <= metrics["acc"]["value"] <= 1


def test_questions_are_well_formed_and_their_answers_balanced() -> None:
    assert len(QUESTIONS) >= 60
    assert len({(q["passage"], q["question"]) for q in QUESTIONS}) == len(QUESTIONS)
    for question in QUESTIONS:
        assert len(set(question["choices"])) == 4
        assert question["answer"] in range(4)
    positions = Counter(question["answer"] for question in QUESTIONS)
    assert max(positions.values()) - min(positions.values()) <= 4
    assert sum(bool(question["passage"]) for question in QUESTIONS) >= 20


def test_the_first_token_is_predicted_also_without_a_begin_token(finished_run: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    shutil.copytree(finished_run / "tokens", tokens)
    encoder = load_encoder(finished_run / "tokenizer")
    plain = [ids.tolist() for ids in read_held_out(tokens, encoder).tokens]
    stream = open_tokens(tokens, "validation")
    assert plain == [document.tolist()[1:-1] for document in stream.each_document()]
    index = read_json(tokens / "index.json")
    write_json(tokens / "index.json", {**index, "bos_id": None})
    assert [ids.tolist() for ids in read_held_out(tokens, encoder).tokens] == [[1, *ids] for ids in plain]


def test_held_out_lengths_are_those_of_the_texts(finished_run: Path, recipe: Recipe) -> None:
    found = read_json(finished_run / "evaluate" / "scores.json")["perplexity"]
    fraction = recipe.tokens.validation_fraction
    texts = [
        document["text"]
        for document in read_documents(finished_run / "corpus")
        if is_validation(document["id"], seed=recipe.seed, fraction=fraction)
    ]
    assert found["documents"] == len(texts)
    assert found["characters"] == sum(map(len, texts))
    assert found["bytes"] == sum(len(text.encode()) for text in texts)
