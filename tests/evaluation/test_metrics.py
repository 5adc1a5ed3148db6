"""The scoring rules on examples worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugu.evaluation.tasks import judging, metrics

TEXTS = st.text(alphabet="富士山はﾌｼﾞ川ABCabc12 、。「」・ー～( )", max_size=20)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("ﾊﾝｶｸｶﾅ", "ハンカクカナ"),
        ("ＡＢＣ１２３", "ABC123"),
        ("ABC", "ABC"),
        ("すごーーーい", "すごーい"),
        ("富士 山", "富士山"),
        ("富士山😀", "富士山"),
        ("  富士山\n", "富士山"),
        ("New  York", "New York"),
        ("「富士山」。", "「富士山」。"),
    ],
)
def test_jp_stable_compares_texts_of_one_width_without_emoji(text: str, normal: str) -> None:
    assert metrics.normalize_jp_stable(text) == normal


def test_jp_stable_exact_match_keeps_punctuation_and_case() -> None:
    assert metrics.jp_stable_exact_match("ﾌｼﾞ山", "フジ山") == 1
    assert metrics.jp_stable_exact_match("富士山。", "富士山") == 0
    assert metrics.jp_stable_exact_match("abc", "ABC") == 0


def test_jp_stable_f1_counts_words_in_common_without_punctuation() -> None:
    assert metrics.mecab_words("日本の富士山") == ["日本", "の", "富士", "山"]
    # Three of the four words of one, all three of the other.
    assert metrics.jp_stable_f1("日本の富士", "日本の富士山") == pytest.approx(2 * 1 * 0.75 / 1.75)
    assert metrics.jp_stable_f1("「富士山」。", "富士山") == 1
    assert metrics.jp_stable_f1("琵琶湖", "富士山") == 0
    assert metrics.jp_stable_f1("。", "。") == 0


def test_every_gold_answer_counts_and_the_best_is_taken() -> None:
    example = {"answers": ["富士", "富士山"]}
    assert judging.jp_stable_answer(example, ["富士山"]) == {"exact_match": 1, "f1": 1}
    assert judging.jp_stable_answer({"answers": ["琵琶湖", "富士"]}, ["富士山"])["exact_match"] == 0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("「蛹化(ようか)」", "蛹化"),
        ("『坊っちゃん』", "坊っちゃん"),
        ("ジョン・レノン", "ジョンレノン"),
        ("ＪＯＨＮ　ＬＥＮＮＯＮ", "johnlennon"),
        ("レオナルド=ダ=ヴィンチ", "レオナルドダヴィンチ"),
        ("富士山（ふじさん）", "富士山"),
        ("2000 年", "2000年"),
    ],
)
def test_quiz_answers_are_compared_as_ai_o_does(text: str, normal: str) -> None:
    assert metrics.normalize_aio(text) == normal


def test_similarity_is_that_of_the_longest_common_subsequence() -> None:
    assert metrics.common_subsequence("abcbdab", "bdcaba") == 4
    # fuzz.ratio: 2 · 2 / 5 = 0.8; 2 · 2 / 7 = 0.5714… rounded to a hundredth.
    assert metrics.similarity("富士山", "富山") == 0.8
    assert metrics.similarity("abcd", "bdx") == 0.57
    assert metrics.similarity("", "") == 1
    assert metrics.similarity("富士山", "") == 0
    # The same letters in another order are not the same text.
    assert metrics.similarity("ab", "ba") == 0.5


@given(TEXTS, TEXTS)
def test_common_subsequence_agrees_with_the_table(first: str, second: str) -> None:
    row = [0] * (len(second) + 1)
    for one in first:
        before = row[:]
        for place, other in enumerate(second):
            row[place + 1] = before[place] + 1 if one == other else max(row[place], before[place + 1])
    assert metrics.common_subsequence(first, second) == row[-1]


@given(TEXTS, TEXTS)
def test_scores_lie_between_0_and_1_and_a_text_fits_itself(first: str, second: str) -> None:
    for score in (metrics.aio_char_f1, metrics.llm_jp_char_f1, metrics.jp_stable_f1, metrics.rouge2):
        assert 0 <= score(first, second) <= 1
    for score in (metrics.aio_exact_match, metrics.jp_stable_exact_match, metrics.llm_jp_char_f1):
        assert score(first, first) == 1


def test_character_f1_of_llm_jp_sorts_words_and_drops_signs() -> None:
    assert metrics.llm_jp_char_f1("B, a", "Ａ b!") == 1
    # 富士 山 against 富士山: three characters in common of four and three.
    assert metrics.llm_jp_char_f1("富士、山", "富士山") == 0.86


@pytest.mark.parametrize(
    ("text", "number"),
    [("3.4", 3.4), ("３", 3.0), ("類似度は4です", 4.0), ("わかりません", -2.0), ("1.2.3", -2.0), ("", -2.0)],
)
def test_a_similarity_is_read_from_digits_and_points(text: str, number: float) -> None:
    assert metrics.llm_jp_number(text) == number


def test_correlations_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    pairs = [(0.0, 1.0), (1.2, 1.0), (2.4, 3.0), (5.0, 2.0), (3.3, -2.0)]
    gold, found = zip(*pairs, strict=True)
    assert metrics.pearson(pairs) == pytest.approx(stats.pearsonr(gold, found).statistic)
    assert metrics.spearman(pairs) == pytest.approx(stats.spearmanr(gold, found).statistic)


def test_numbers_that_never_vary_correlate_with_nothing() -> None:
    assert metrics.pearson([(1.0, 3.0), (2.0, 3.0)]) == 0
    assert metrics.spearman([(1.0, 3.0), (2.0, 3.0)]) == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3に4を足すと7です。答えは7です。", 7),
        ("答えは1,200.", 1200),
        ("答えは-5です", -5),
        ("答えは2.50です", None),
        ("答えはありません", None),
        ("...", None),
    ],
)
def test_the_last_whole_number_is_the_answer_of_a_calculation(text: str, number: int | None) -> None:
    assert metrics.mgsm_number(text) == number


def test_rouge2_counts_pairs_of_neighbouring_words() -> None:
    # 日本/の/富士/山: three pairs; 日本/の/富士: two, both among them.
    assert metrics.rouge2("日本の富士", "日本の富士山") == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert metrics.rouge2("富士", "日本の富士山") == 0


def test_rouge2_agrees_with_the_rouge_score_package() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer")

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return metrics.mecab_words(text)

    rouge = scorer.RougeScorer(["rouge2"], tokenizer=Words())
    gold, found = "政府は新しい法律を決めた。法律は春に始まる。", "政府は法律を決め、法律は来年の春に始まる。"
    assert metrics.rouge2(found, gold) == pytest.approx(rouge.score(gold, found)["rouge2"].fmeasure)


def test_of_equally_likely_choices_the_first_is_taken() -> None:
    assert metrics.first_best([-2.0, -1.0, -1.0]) == 1
    even = [(-1.0, False), (-1.0, False)]
    assert judging.jp_stable_classes({"label": 0}, even)["acc"] == 1
    assert judging.jp_stable_classes({"label": 1}, even)["acc"] == 0


def test_in_xwinograd_a_tie_is_wrong_whichever_sentence_is_right() -> None:
    even = [(-1.0, False), (-1.0, False)]
    assert judging.jp_stable_pair({"label": 0}, even) == {"acc": 0}
    assert judging.jp_stable_pair({"label": 1}, even) == {"acc": 0}
    assert judging.jp_stable_pair({"label": 1}, [(-2.0, False), (-1.0, False)]) == {"acc": 1}


def test_class_metrics_agree_with_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    pairs = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), (2, 0)]
    gold, found = zip(*pairs, strict=True)
    assert metrics.macro_f1(pairs) == pytest.approx(reference.f1_score(gold, found, average="macro"))
    assert metrics.matthews(pairs) == pytest.approx(reference.matthews_corrcoef(gold, found))
    assert metrics.balanced_accuracy(pairs) == pytest.approx(reference.balanced_accuracy_score(gold, found))
    assert metrics.matthews([(0, 0), (1, 0)]) == 0


def test_subjects_count_the_same_whatever_their_size() -> None:
    values = [("歴史", 1.0), ("歴史", 1.0), ("歴史", 0.0), ("解剖学", 0.0)]
    assert metrics.mean_over_groups(values) == pytest.approx((2 / 3 + 0) / 2)
    example = {"label": 1, "choices": ["長い長い答え", "短い"], "subject": "歴史"}
    assert judging.subject_choice(example, [(-5.0, False), (-4.0, False)]) == {
        "acc": 1,
        "acc_norm": 0,
        "acc_macro": ("歴史", 1),
    }
