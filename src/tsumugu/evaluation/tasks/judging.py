"""From a model's answer to the scores of one question: the functions that task files name.

Each is what the harness calls `process_results`: it gets an example and the model's results (one
generated text, or one log-likelihood per choice) and returns values that the file's `metric_list`
then averages. The rules themselves are in `metrics`.
"""

from collections.abc import Sequence
from typing import Any

from tsumugu.evaluation.tasks import metrics

Example = dict[str, Any]
Generated = Sequence[str]
Scored = Sequence[tuple[float, bool]]


def jp_stable_answer(example: Example, results: Generated) -> dict[str, float]:
    """JSQuAD and JAQKET of jp-stable: against the best of the gold answers."""
    answer, gold = results[0], example["answers"]
    return {
        "exact_match": metrics.best(metrics.jp_stable_exact_match, answer, gold),
        "f1": metrics.best(metrics.jp_stable_f1, answer, gold),
    }


def jp_stable_summary(example: Example, results: Generated) -> dict[str, float]:
    """XL-Sum of jp-stable."""
    return {"rouge2": metrics.rouge2(results[0], example["summary"])}


def jp_stable_math(example: Example, results: Generated) -> dict[str, float]:
    """MGSM of jp-stable: the last number of the answer."""
    return {"acc": float(metrics.mgsm_number(results[0]) == example["number"])}


def jp_stable_pair(example: Example, results: Scored) -> dict[str, float]:
    """XWinograd of jp-stable: a tie is wrong."""
    return {"acc": metrics.strictly_best([one for one, _ in results], example["label"])}


def jp_stable_classes(example: Example, results: Scored) -> dict[str, Any]:
    """JNLI and MARC-ja of jp-stable, where every question has the same choices."""
    predicted = metrics.first_best([one for one, _ in results])
    pair = (int(example["label"]), predicted)
    return {"acc": float(pair[0] == predicted), "balanced_acc": pair, "macro_f1": pair, "mcc": pair}


def quiz_answer(example: Example, results: Generated) -> dict[str, float]:
    """AI王 as flexeval scores it."""
    answer, gold = results[0], example["answers"]
    return {
        "exact_match": metrics.best(metrics.aio_exact_match, answer, gold),
        "char_f1": metrics.best(metrics.aio_char_f1, answer, gold),
    }


def llm_jp_answer(example: Example, results: Generated) -> dict[str, float]:
    """NIILC and JEMHopQA: character F1 of llm-jp-eval, and beside it exact match as for AI王."""
    answer, gold = results[0].strip(), example["answers"]
    return {
        "char_f1": metrics.best(metrics.llm_jp_char_f1, answer, gold),
        "exact_match": metrics.best(metrics.aio_exact_match, answer, gold),
    }


def llm_jp_similarity(example: Example, results: Generated) -> dict[str, Any]:
    """JSTS: the number that was generated beside the annotators' mean."""
    number = metrics.llm_jp_number(results[0])
    pair = (float(example["similarity"]), number)
    return {"pearson": pair, "spearman": pair, "answered": float(number != metrics.INVALID_NUMBER)}


def subject_choice(example: Example, results: Scored) -> dict[str, Any]:
    """JMMLU: accuracy over all questions (micro) and over subjects (macro), plain and by length."""
    scores = [one for one, _ in results]
    right = float(metrics.first_best(scores) == example["label"])
    lengths = [len(choice) for choice in example["choices"]]
    by_length = metrics.first_best(
        [one / max(length, 1) for one, length in zip(scores, lengths, strict=True)]
    )
    return {
        "acc": right,
        "acc_norm": float(by_length == example["label"]),
        "acc_macro": (example["subject"], right),
    }
