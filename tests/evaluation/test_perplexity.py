"""Perplexity, its errors and its differences: against values by hand, and transformers' own loss."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import write_small_model
from tiny_tokenizers import byte_fallback, byte_level, without_bytes
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.language_model import LogitsAt, Rows
from tsumugu.evaluation.measuring import Measured, Windows, measure, windows_for
from tsumugu.evaluation.perplexity import Predicted, paired_difference, summarize, summarize_sources
from tsumugu.evaluation.scoring import windows
from tsumugu.evaluation.subject import Subject, open_subject
from tsumugu.evaluation.texts import Document, Texts

HARD = "吾輩は𠮷野家で🍣👩‍👩‍👧を食べた。\u3000髑髏 ①か゚\n"


def texts(*several: str, sources: Sequence[str] = ()) -> Texts:
    named = sources or ["wiki"] * len(several)
    pairs = enumerate(zip(named, several, strict=True))
    documents = [Document(str(number), source, text) for number, (source, text) in pairs]
    return Texts("test", tuple(documents), ())


def measured(
    subject: Subject, given: Texts, *, context: int | None = None, stride: int | None = None
) -> Measured:
    chosen = windows_for(subject, context=context, stride=stride)
    found = measure(subject, given, chosen, batch_size=3, description="")
    assert found is not None
    return found


class Bigrams:
    """A model whose probabilities stand in a table."""

    device = torch.device("cpu")
    shares_contexts = True
    max_length = 4

    def __init__(self, table: Sequence[Sequence[float]]) -> None:
        self.table = torch.tensor(table).log()
        self.vocab_size = len(table)

    def read(self, rows: Rows, places: Tensor) -> LogitsAt:
        return lambda row, place: self.table[rows.tokens[row, place]]


def bigrams(table: Sequence[Sequence[float]]) -> Subject:
    letters = "_あいう"
    return Subject(
        name="bigrams",
        model=Bigrams(table),
        encode=lambda text: [letters.index(letter) for letter in text],
        decode=lambda ids: "".join(letters[index] for index in ids),
        prompt_start=(0,),
        text_start=0,
        eos_id=0,
        facts={},
        name_of=lambda index: letters[index],
    )


BY_HAND = [
    [0, 1 / 2, 1 / 4, 1 / 4],
    [1 / 8, 1 / 4, 1 / 2, 1 / 8],
    [1 / 2, 1 / 4, 1 / 8, 1 / 8],
    [1 / 4, 1 / 4, 1 / 4, 1 / 4],
]


def test_figures_are_those_that_a_hand_computes() -> None:
    # 1/2 * 1/4 * 1/2: four bits for three letters of nine bytes; and 1/4, two bits for three bytes.
    found = measured(bigrams(BY_HAND), texts("ああい", "い"))
    assert [one.nats for one in found.documents] == pytest.approx([4 * math.log(2), 2 * math.log(2)])
    figures = summarize(found.documents)
    assert [figures[key] for key in ("documents", "tokens", "characters", "bytes")] == [2, 4, 4, 12]
    assert figures["bits_per_byte"] == pytest.approx(0.5)
    assert figures["perplexity_per_byte"] == pytest.approx(2**0.5)
    assert figures["perplexity_per_character"] == pytest.approx(2**1.5)
    assert figures["perplexity_per_token"] == pytest.approx(2**1.5)
    # Half a bit above and below what nine and three bytes cost at half a bit each.
    assert figures["bits_per_byte_stderr"] == pytest.approx(math.sqrt(2 * (0.25 + 0.25)) / 12)


def test_a_long_text_costs_the_same_through_windows_if_the_model_looks_no_further() -> None:
    text = "あいうあああいいうあいううあ"
    cost = sum(math.log(BY_HAND[a][b]) for a, b in pairwise([0, *map("_あいう".index, text)]))
    for context, stride in ((None, None), (4, 1), (3, 1), (2, 1)):
        (one,) = measured(bigrams(BY_HAND), texts(text), context=context, stride=stride).documents
        assert one.nats == pytest.approx(-cost)
        assert one.tokens == len(text)


def test_the_standard_error_is_that_of_resampled_documents() -> None:
    draw = np.random.default_rng(3)
    sizes = draw.integers(50, 3000, 400)
    costs = sizes * draw.normal(0.8, 0.2, 400)
    documents = [
        Predicted(str(n), "s", float(cost), int(size), int(size), int(size))
        for n, (cost, size) in enumerate(zip(costs, sizes, strict=True))
    ]
    found = summarize(documents)
    low, high = found["bits_per_byte_interval"]
    assert (high - low) / (2 * 1.96) == pytest.approx(found["bits_per_byte_stderr"], rel=0.1)
    assert low < found["bits_per_byte"] < high


def test_one_document_has_no_standard_error() -> None:
    assert summarize([Predicted("a", "s", 3.0, 4, 5, 6)])["bits_per_byte_stderr"] is None


def test_a_perplexity_beyond_all_numbers_can_be_written_down() -> None:
    found = summarize([Predicted("a", "s", 1e6, 1, 1, 3)])
    assert found["nats_per_token"] == 1e6
    assert math.isfinite(found["perplexity_per_token"])


def test_figures_by_source() -> None:
    found = summarize_sources(
        measured(bigrams(BY_HAND), texts("ああい", "い", "う", sources=("news", "wiki", "all"))).documents
    )
    assert list(found) == ["all", "news", "wiki", "all (source)"]
    assert found["news"]["bits_per_byte"] == pytest.approx(4 / 9)
    assert found["wiki"]["bits_per_byte"] == pytest.approx(2 / 3)
    assert found["all"]["bits_per_byte"] == pytest.approx(8 / 15)


def test_texts_of_which_nothing_is_left_are_said_to_be_empty() -> None:
    with pytest.raises(TsumuguError, match="no token to predict"):
        summarize([Predicted("a", "s", 0.0, 0, 1, 3)])


@given(length=st.integers(2, 40), total=st.integers(2, 200), share=st.floats(0, 1), first=st.integers(1, 60))
def test_every_token_sees_half_a_window_or_all_that_stands_before_it(
    length: int, total: int, share: float, first: int
) -> None:
    first = min(first, total - 1)
    stride = 1 + round(share * (length // 2 - 1))
    seen: dict[int, int] = {}
    for window in windows(0, np.arange(total), first=first, length=length, stride=stride):
        for place in range(window.first, len(window.tokens)):
            token = int(window.tokens[place])
            assert token not in seen
            seen[token] = place
    assert sorted(seen) == list(range(first, total))
    assert all(context >= min(token, length / 2) for token, context in seen.items())


def test_a_stride_that_takes_the_context_away_is_refused() -> None:
    subject = bigrams(BY_HAND)
    assert windows_for(subject) == Windows(4, 2)
    assert windows_for(subject, context=3) == Windows(3, 1)
    assert windows_for(subject, context=400) == Windows(4, 2)
    with pytest.raises(TsumuguError, match="stride is 3, and windows have 4 tokens.* take 1 to 2"):
        windows_for(subject, stride=3)


def test_a_model_that_gives_no_numbers_is_named() -> None:
    broken = bigrams([[math.nan] * 4] * 4)
    with pytest.raises(TsumuguError, match="bigrams: the log-probability of document 1 is nan"):
        measured(broken, texts("あ"))


# Differences.


def documents(bits: Sequence[float], sizes: Sequence[int]) -> list[Predicted]:
    return [
        Predicted(str(n), "s", one * math.log(2), 1, 1, size)
        for n, (one, size) in enumerate(zip(bits, sizes, strict=True))
    ]


def test_a_constant_difference_is_certain_however_much_documents_differ() -> None:
    sizes = [10, 200, 3000, 40]
    bits = np.array([5.0, 300.0, 900.0, 80.0])
    found = paired_difference(
        documents(list(bits), sizes), documents(list(bits + 0.1 * np.array(sizes)), sizes)
    )
    assert (found.bits_per_byte, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.excludes_zero
    # In another order, too.
    turned = documents(list(bits + 0.1 * np.array(sizes)), sizes)[::-1]
    assert paired_difference(documents(list(bits), sizes), turned) == found


def test_noise_is_no_difference_and_the_interval_covers_what_is_true() -> None:
    covered = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        sizes = draw.integers(50, 500, 80).tolist()
        bits = draw.normal(1.0, 0.3, 80) * sizes
        other = bits + (0.02 + draw.normal(0, 0.1, 80)) * sizes
        found = paired_difference(documents(list(bits), sizes), documents(list(other), sizes))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.02 <= found.high
    assert 88 <= covered <= 99
    noise = np.array([1.0, -1.0] * 20)
    found = paired_difference(documents([50.0] * 40, [100] * 40), documents(list(50 + noise), [100] * 40))
    assert not found.excludes_zero


def test_only_the_same_documents_are_compared() -> None:
    mine = documents([1, 2, 3], [10, 20, 30])
    with pytest.raises(
        TsumuguError, match=r"the same documents only, and these are not \(3 and 2, 1 of them"
    ):
        paired_difference(mine, mine[:2])
    with pytest.raises(TsumuguError, match="document 2 has 30 bytes on one side and 31 on the other"):
        paired_difference(mine, documents([1, 2, 3], [10, 20, 31]))
    alone = paired_difference(mine[:1], mine[:1])
    assert alone.low is None
    assert not alone.excludes_zero


# Models of transformers.


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level(tmp_path_factory.mktemp("tokenizer") / "bytes")


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
@torch.no_grad()
def test_perplexity_is_that_of_the_loss_of_transformers(tokenizer: Path, tmp_path: Path, kind: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = write_small_model(tmp_path / kind, tokenizer, kind)
    subject = open_subject(str(folder))
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(f"<s>{HARD}", add_special_tokens=False, return_tensors="pt")
    row = ids["input_ids"]
    figures = summarize(measured(subject, texts(HARD)).documents)
    assert figures["tokens"] == row.shape[1] - 1
    assert figures["perplexity_per_token"] == pytest.approx(
        float(theirs(row, labels=row).loss.exp()), rel=1e-4
    )

    # Windows of 16 tokens that move on by 5: each loss is that of the tokens that are new in its window.
    length, stride, total, end = 16, 5, 0.0, 0
    while end < row.shape[1]:
        new_from, end = end, min(row.shape[1], length + 1 if end == 0 else end + stride)
        window = row[:, max(0, end - length - 1) : end]
        labels = window.clone()
        labels[:, : window.shape[1] - (end - new_from)] = -100
        new = end - max(1, new_from)
        total += float(theirs(window, labels=labels).loss) * new
    (one,) = measured(subject, texts(HARD), context=length, stride=stride).documents
    assert one.nats == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_bytes_are_exact_for_emoji_and_rare_kanji(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    subject = open_subject(str(write_small_model(tmp_path / "model", make(tmp_path / "tokenizer"), "llama")))
    found = measured(subject, texts(HARD, "吾輩は猫である。"))
    assert [one.bytes for one in found.documents] == [len(HARD.encode()), 24]
    assert [one.characters for one in found.documents] == [len(HARD), 8]
    assert (found.unfaithful_documents, found.unknown_tokens) == (0, 0)


def test_a_tokenizer_without_bytes_is_found_out(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path / "model", without_bytes(tmp_path / "tokenizer"), "llama")
    found = measured(open_subject(str(folder)), texts("吾輩は虎である", "吾輩は猫である", "熊と鮭"))
    assert [one.bytes for one in found.documents] == [21, 21, 9]
    assert found.unfaithful_documents == 2
    assert found.unknown_tokens == 4
