"""Which documents are held out.

A pure function of the document's id and the seed: the same document is on the same side whatever
else is in the corpus, and every stage can ask without reading a list.
"""

import xxhash

TRAIN = "train"
VALIDATION = "validation"


def is_validation(document_id: str, *, seed: int, fraction: float) -> bool:
    """Whether the document belongs to the validation split."""
    drawn = xxhash.xxh3_64_intdigest(f"validation\0{seed}\0{document_id}".encode())
    return drawn < fraction * 2**64
