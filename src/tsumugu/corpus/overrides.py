"""Other rules than a run had, from words of the command line: `too_short=300`, `lists=off`.

`too_short=300` moves a rule's bound; `too_short.at_most=9000` moves one of two, or adds it, and
`none` takes it away; `lists=off` or `-lists` removes a rule; `reason:signal<=0.3`,
`reason:signal>=2` or `reason:signal.at_most=0.3` adds a rule at the end.
"""

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from tsumugu.corpus.decisions import Threshold
from tsumugu.errors import TsumuguError

_CHANGE = re.compile(r"(?P<reason>[a-z][a-z0-9_]*)(?:\.(?P<bound>at_least|at_most))?=(?P<value>.+)")
_NEW = re.compile(
    r"(?P<reason>[a-z][a-z0-9_]*):(?P<signal>\w+)"
    r"(?:(?P<sign><=|>=)|\.(?P<bound>at_least|at_most)=)(?P<value>.+)"
)


def change_rules(
    rules: Sequence[Threshold], overrides: Sequence[str], *, signals: Sequence[str]
) -> tuple[Threshold, ...]:
    """`rules` with overrides laid over them, in order.

    Raises:
        TsumuguError: an override cannot be understood, or names what is not there.
    """
    changed = {rule.reason: rule for rule in rules}
    for word in overrides:
        if word.startswith("-") or re.fullmatch(r"[a-z][a-z0-9_]*=off", word):
            reason = word.removeprefix("-").removesuffix("=off")
            del changed[_known(reason, changed, word, "rule")]
        elif found := _NEW.fullmatch(word):
            reason = found["reason"]
            if reason in changed:
                raise TsumuguError(
                    f"what-if: {word}: this run has a rule {reason!r} already; move it with {reason}=VALUE, "
                    f"or give the new rule another name"
                )
            bound = found["bound"] or {"<=": "at_most", ">=": "at_least"}[found["sign"]]
            signal = _known(found["signal"], signals, word, "signal")
            changed[reason] = _moved(Threshold(reason, signal), bound, _value(found["value"], word))
        elif found := _CHANGE.fullmatch(word):
            rule = changed[_known(found["reason"], changed, word, "rule")]
            bound = found["bound"] or _only_bound(rule, word)
            value = None if found["value"] == "none" else _value(found["value"], word)
            changed[rule.reason] = _checked(_moved(rule, bound, value), word)
        else:
            raise TsumuguError(
                f"what-if: {word!r} is not a change of a rule; write rule=300, rule.at_most=0.3, rule=off, "
                f"or 'name:signal<=0.3' (in quotes, or the shell takes the < away)"
            )
    return tuple(changed.values())


def _known(name: str, known: Collection[str], word: str, kind: str) -> str:
    if name in known:
        return name
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    listed = ", ".join(known) or "none"
    new = f"; to add a rule, write '{name}:SIGNAL<=VALUE'" if kind == "rule" else ""
    raise TsumuguError(f"what-if: {word}: this run has no {kind} {name!r}{hint}; it has: {listed}{new}")


def _only_bound(rule: Threshold, word: str) -> str:
    if rule.at_least is not None and rule.at_most is not None:
        raise TsumuguError(
            f"what-if: {word}: {rule.reason!r} has two bounds ({rule.bounds()}); write "
            f"{rule.reason}.at_least=VALUE or {rule.reason}.at_most=VALUE"
        )
    return "at_least" if rule.at_least is not None else "at_most"


def _moved(rule: Threshold, bound: str, value: float | None) -> Threshold:
    return replace(rule, at_least=value) if bound == "at_least" else replace(rule, at_most=value)


def _value(text: str, word: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TsumuguError(f"what-if: {word}: {text!r} is not a number")
    return value


def _checked(rule: Threshold, word: str) -> Threshold:
    if rule.at_least is None and rule.at_most is None:
        raise TsumuguError(f"what-if: {word}: no bound is left; to remove the rule write {rule.reason}=off")
    if rule.at_least is not None and rule.at_most is not None and rule.at_least > rule.at_most:
        raise TsumuguError(
            f"what-if: {word}: at_least {rule.at_least:g} is above at_most {rule.at_most:g}: nothing passes"
        )
    return rule
