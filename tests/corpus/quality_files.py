"""Small quality models of known numbers: a fastText classifier, byte by byte, and an ARPA file."""

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

END = "</s>"
ROWS = {END: (0.5, 0.25), "良い": (1.0, 0.0), "悪い": (0.0, 1.0)}
"""What each word, and the end of a line, puts into the two hidden numbers."""

ARPA = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-0.5\t猫\t-0.2
-2.0\t<unk>

\\2-grams:
-0.25\t<s> 猫
-0.1\t猫 </s>

\\end\\
"""


def write_classifier(path: Path, labels: Mapping[str, tuple[float, float]], *, model: int = 3) -> None:
    """A fastText file (format version 12) of the words of `ROWS` and a softmax over `labels`."""
    softmax, buckets, ngrams = 3, 0, (0, 0)
    raw = struct.pack("<2i", 793712314, 12)
    raw += struct.pack("<12id", 2, 5, 1, 1, 5, 1, softmax, model, buckets, *ngrams, 100, 1e-4)
    raw += struct.pack("<3i2q", len(ROWS) + len(labels), len(ROWS), len(labels), 100, -1)
    for kind, names in enumerate((ROWS, labels)):
        for name in names:
            raw += name.encode() + b"\0" + struct.pack("<qb", 10, kind)
    for rows in (list(ROWS.values()), list(labels.values())):
        flat = [value for row in rows for value in row]
        raw += struct.pack(f"<?2q{len(flat)}f", False, len(rows), 2, *flat)
    path.write_bytes(raw)


def expected_probabilities(
    words: Sequence[str], labels: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """The softmax of the mean of the rows of the words and of the end."""
    rows = [ROWS[word] for word in (*words, END)]
    hidden = [sum(row[axis] for row in rows) / len(rows) for axis in range(2)]
    powers = {name: math.exp(row[0] * hidden[0] + row[1] * hidden[1]) for name, row in labels.items()}
    return {name: power / sum(powers.values()) for name, power in powers.items()}
