"""The scoring rules of the tasks, as functions of texts. Nothing here knows the harness.

Scores are fractions between 0 and 1; the jp-stable fork and llm-jp-eval print some of them times 100.

Three families, each named after where its numbers are published:

- jp-stable (Stability AI's fork of lm-evaluation-harness, `lm_eval/jasquad` and `lm_eval/utils.py`):
  exact match and F1 on MeCab words after neologdn, and ROUGE-2 on the same words;
- flexeval (and the official script of AI王): exact match after the quiz's own normalisation, and
  "character F1", which is the similarity of two strings by their longest common subsequence;
- llm-jp-eval 1.3: the same similarity after sorting words, and correlations of parsed numbers.

A tie between choices: the harness takes the first of the best (`numpy.argmax`), and so do we, except
in XWinograd of jp-stable, where a tie is wrong whichever sentence is right (`strictly_best`).
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

INVALID_NUMBER = -2.0
"""What llm-jp-eval puts in the place of an answer that holds no number: below the scale of 0 to 5."""

_EMOJI_BLOCKS = re.compile(
    "[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff\U00002702-\U000027b0]"
)
# The punctuation that jp-stable drops before it counts words in common, in its order.
_PUNCTUATION = frozenset(
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿"
    "–—‘’‛“”„‟…‧﹏." + string.punctuation
)
_NUMBER = re.compile(r"-?[0-9.,]+")


def best(score: Callable[[str, str], float], prediction: str, references: Iterable[str]) -> float:
    """The score against the reference that it fits best: every gold answer is right."""
    return max(float(score(prediction, reference)) for reference in references)


# ---------------------------------------------------------------- jp-stable


def normalize_jp_stable(text: str) -> str:
    """Without emoji, through neologdn, with single spaces: what jp-stable compares.

    neologdn makes widths one (ＡＢＣ → ABC, ｱ → ア), shortens runs of ー, and drops spaces between
    Japanese characters. Case is kept, and so is punctuation.
    """
    import emoji
    import neologdn

    without = "".join(character for character in text if not emoji.is_emoji(character))
    return " ".join(str(neologdn.normalize(_EMOJI_BLOCKS.sub("", without))).split())


def jp_stable_exact_match(prediction: str, reference: str) -> float:
    """1 where the two are one text after `normalize_jp_stable`."""
    return float(normalize_jp_stable(prediction) == normalize_jp_stable(reference))


def jp_stable_f1(prediction: str, reference: str) -> float:
    """F1 of the words in common, as SQuAD counts them, on MeCab's words without punctuation.

    An answer without a word in common scores 0, also where neither has any word.
    """
    found = [word for word in mecab_words(prediction) if word not in _PUNCTUATION]
    wanted = [word for word in mecab_words(reference) if word not in _PUNCTUATION]
    common = sum((Counter(found) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def mecab_words(text: str) -> list[str]:
    """Words of the normalised text, by MeCab with its default dictionary (unidic-lite here)."""
    return str(_tagger().parse(normalize_jp_stable(text))).split()


def rouge2(prediction: str, reference: str) -> float:
    """F-measure of the pairs of neighbouring MeCab words (ROUGE-2; Lin 2004)."""
    found, wanted = (Counter(pairwise(words)) for words in map(mecab_words, (prediction, reference)))
    common = sum((found & wanted).values())
    if common == 0:
        return 0.0
    precision, recall = common / sum(found.values()), common / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)


def mgsm_number(text: str) -> int | None:
    """The last number of an answer, if it is a whole one: `…だから、答えは1,234.` gives 1234."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    try:
        number = float(found[-1].strip(".").replace(",", ""))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


# ---------------------------------------------------------------- AI王 and flexeval


def normalize_aio(text: str) -> str:
    """What the official script of AI王 compares (aio4-bpr-baseline, `compute_score.py`; also in flexeval).

    NFKC and lower case; without 「」『』 around words, ・, =, -, white space, and anything in parentheses.
    """
    text = unicodedata.normalize("NFKC", text.replace("～", "〜")).lower()
    text = re.sub(r"「(.*?)」", r"\1", text)
    text = re.sub(r"『(.*?)』", r"\1", text)
    text = re.sub(r"[・=-]", "", text)
    return re.sub(r"\((.*?)\)", "", re.sub(r"\s+", "", text))


def aio_exact_match(prediction: str, reference: str) -> float:
    """1 where the two are one text after `normalize_aio`."""
    return float(normalize_aio(prediction) == normalize_aio(reference))


def aio_char_f1(prediction: str, reference: str) -> float:
    """`similarity` after `normalize_aio`: flexeval's CharF1 as its AI王 task sets it up."""
    return similarity(normalize_aio(prediction), normalize_aio(reference))


def similarity(first: str, second: str) -> float:
    """Twice the longest common subsequence over both lengths, rounded to a hundredth.

    That is `fuzz.ratio` of fuzzywuzzy with python-Levenshtein, which flexeval and llm-jp-eval call
    character F1. Two equal texts score 1, two empty ones too.
    """
    if first == second:
        return 1.0
    return round(100 * 2 * common_subsequence(first, second) / (len(first) + len(second))) / 100


def common_subsequence(first: str, second: str) -> int:
    """Length of the longest common subsequence (bit-parallel; Hyyrö 2004)."""
    places: dict[str, int] = {}
    for position, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << position
    everything = (1 << len(first)) - 1
    row = everything
    for character in second:
        matched = row & places.get(character, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(first) - row.bit_count()


# ---------------------------------------------------------------- llm-jp-eval


def llm_jp_char_f1(prediction: str, reference: str) -> float:
    """Character F1 of llm-jp-eval: NFKC, then `fuzz.token_sort_ratio` of fuzzywuzzy.

    Everything but letters and digits becomes a space, letters become small, words are sorted.
    """
    return similarity(_sorted_words(prediction), _sorted_words(reference))


def llm_jp_number(text: str) -> float:
    """The number that the digits and points of an answer make; `INVALID_NUMBER` where they make none."""
    try:
        return float(re.sub(r"[^0-9.]", "", unicodedata.normalize("NFKC", text)))
    except ValueError:
        return INVALID_NUMBER


def pearson(pairs: Sequence[tuple[float, float]]) -> float:
    """Correlation of gold and predicted numbers; 0 where one side never varies."""
    gold, predicted = np.array(pairs, dtype=float).T
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(np.corrcoef(gold, predicted)[0, 1])


def spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Correlation of the ranks; equal numbers share the mean of their ranks."""
    gold, predicted = np.array(pairs, dtype=float).T
    return pearson(list(zip(_ranks(gold), _ranks(predicted), strict=True)))


# ---------------------------------------------------------------- choices


def first_best(log_likelihoods: Sequence[float]) -> int:
    """Index of the most likely choice; of equals, the first."""
    return int(np.argmax(log_likelihoods))


def strictly_best(log_likelihoods: Sequence[float], gold: int) -> float:
    """1 where the right choice is more likely than every other; a tie is wrong."""
    others = [value for index, value in enumerate(log_likelihoods) if index != gold]
    return float(all(log_likelihoods[gold] > value for value in others))


def balanced_accuracy(pairs: Sequence[tuple[int, int]]) -> float:
    """Mean over the classes of gold of the accuracy within each."""
    classes = sorted({gold for gold, _ in pairs})
    return float(np.mean([np.mean([p == g for g, p in pairs if g == one]) for one in classes]))


def macro_f1(pairs: Sequence[tuple[int, int]]) -> float:
    """Mean of the classes' F1, over every class that is gold or predicted."""
    found = []
    for one in sorted({label for pair in pairs for label in pair}):
        right = sum(g == p == one for g, p in pairs)
        found.append(2 * right / (sum(g == one for g, _ in pairs) + sum(p == one for _, p in pairs)))
    return float(np.mean(found))


def matthews(pairs: Sequence[tuple[int, int]]) -> float:
    """Matthews correlation for many classes (Gorodkin 2004); 0 where gold or predictions never vary."""
    gold, predicted = np.array(pairs).T
    classes = np.union1d(gold, predicted)
    counts_gold = (gold[:, None] == classes).sum(0).astype(float)
    counts_predicted = (predicted[:, None] == classes).sum(0).astype(float)
    total, right = float(len(gold)), float((gold == predicted).sum())
    below = (total**2 - (counts_predicted**2).sum()) * (total**2 - (counts_gold**2).sum())
    return float((right * total - (counts_gold * counts_predicted).sum()) / np.sqrt(below)) if below else 0.0


def mean_over_groups(pairs: Sequence[tuple[str, float]]) -> float:
    """Mean of the groups' means: every subject counts the same, however many questions it has."""
    names = sorted({name for name, _ in pairs})
    return float(np.mean([np.mean([value for name, value in pairs if name == one]) for one in names]))


@cache
def _tagger() -> Any:
    from fugashi import Tagger

    return Tagger("-Owakati")


def _sorted_words(text: str) -> str:
    normal = unicodedata.normalize("NFKC", text).strip()
    # fuzzywuzzy drops the upper half of Latin-1 before it looks at words.
    normal = "".join(character for character in normal if not 128 <= ord(character) < 256)
    return " ".join(sorted(re.sub(r"\W", " ", normal).lower().split()))


def _ranks(values: Any) -> Any:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]
