"""fastText classifiers (Joulin et al. 2016): what labels a model has, and what it says of a text.

The library reads a damaged file without complaint, or ends the process, so the file is checked
here first: its parts are walked in the order in which fastText (format versions 11 and 12) writes
them, and it must be as long as they say.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

_MAGIC = 793712314
_VERSIONS = (11, 12)
_SUPERVISED = 3
_ARGUMENTS = 8
"""Where the settings of the training begin: twelve integers and a double."""
_DICTIONARY = 64
_CENTROIDS = 256


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of the classifier at `path`, which is whole.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no fastText model, not a classifier, or cut off.
    """
    with path.open("rb") as stream:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _labels(data)
            except struct.error as error:
                raise ValueError(f"the file is cut off after {len(data):,} bytes") from error


def label_probabilities(model: Any, text: str) -> dict[str, float]:
    """The probability of every label for the whole text, read as one line.

    No label at all, if the model knows nothing of what is in the text.
    """
    labels, probabilities = model.predict(text.replace("\n", " "), k=-1)
    # The library's sums of float32 may pass 1.
    return {label: min(1.0, float(one)) for label, one in zip(labels, probabilities, strict=True)}


def _labels(data: mmap.mmap) -> tuple[str, ...]:
    magic, version = struct.unpack_from("<2i", data)
    if magic != _MAGIC or version not in _VERSIONS:
        raise ValueError("the file is no fastText model (.bin or .ftz)")
    model = struct.unpack_from("<12id", data, _ARGUMENTS)[7]
    if model != _SUPERVISED:
        raise ValueError("these are word vectors, not a classifier: train one with `fasttext supervised`")
    entries, _, _, _, pruned = struct.unpack_from("<3i2q", data, _DICTIONARY)
    position = _DICTIONARY + struct.calcsize("<3i2q")
    labels = []
    for _ in range(entries):
        end = data.find(b"\0", position)
        if end < 0:
            raise struct.error
        # Behind the word: how often it was seen, and whether it is a label.
        if struct.unpack_from("<qb", data, end + 1)[1] == 1:
            labels.append(data[position:end].decode())
        position = end + 1 + struct.calcsize("<qb")
    position += 8 * max(pruned, 0)
    (quantized,) = struct.unpack_from("<?", data, position)
    position = _end_of_matrix(data, position + 1, quantized=quantized)
    (quantized_output,) = struct.unpack_from("<?", data, position)
    position = _end_of_matrix(data, position + 1, quantized=quantized and quantized_output)
    if position > len(data):
        raise struct.error
    return tuple(labels)


def _end_of_matrix(data: mmap.mmap, position: int, *, quantized: bool) -> int:
    if not quantized:
        rows, columns = struct.unpack_from("<2q", data, position)
        return int(position + 16 + 4 * rows * columns)
    with_norms, rows, _, codes = struct.unpack_from("<?2qi", data, position)
    position = _end_of_quantizer(data, position + struct.calcsize("<?2qi") + codes)
    return _end_of_quantizer(data, position + rows) if with_norms else position


def _end_of_quantizer(data: mmap.mmap, position: int) -> int:
    dimension, _, _, _ = struct.unpack_from("<4i", data, position)
    return int(position + 16 + 4 * dimension * _CENTROIDS)
