"""HojiChar's transforms, byte for byte, with the installed HojiChar as the oracle."""

import random

from hojichar import Document
from hojichar.filters.document_filters import DocumentNormalizer, MaskPersonalInformation
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsumugu.corpus.transforms.hojichar_equals import hojichar_mask, nfkc

_MASK, _NORMALIZER = MaskPersonalInformation(), DocumentNormalizer()
# Few characters, so that numbers and addresses come about; digits of other scripts count in HojiChar.
_ADDRESSES = st.text("ab.@-_ +0９あ\n", max_size=40)
_NUMBERS = st.text("0123+- 7９٣x", max_size=60)
_MIXED = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def _hojichar(text: str) -> str:
    return str(_MASK.apply(Document(text)).text)


@settings(max_examples=1500)
@given(st.one_of(_ADDRESSES, _NUMBERS, _MIXED, st.tuples(_NUMBERS, _ADDRESSES).map("".join)))
@example("a@b.c_d@e.f")
@example("@a.b")
@example("a@a@a.b@c.")
@example("a@b.c@d.e")
@example("a..@..b")
@example("090-1234-5678090-1234-5678 +81-90-1234-5678 ０９０１２３４５６７８")
def test_masks_like_hojichar(text: str) -> None:
    assert hojichar_mask(text)[0] == _hojichar(text)


def test_masks_many_random_texts_like_hojichar() -> None:
    draw = random.Random(3)
    for _ in range(20_000):
        text = "".join(draw.choices("aZ@@..-_%+0011２é \n", k=draw.randrange(1, 30)))
        assert hojichar_mask(text)[0] == _hojichar(text), text


@settings(max_examples=300)
@given(_MIXED)
def test_normalises_like_hojichar(text: str) -> None:
    assert nfkc(text)[0] == _NORMALIZER.apply(Document(text)).text


def test_real_pages_are_masked_like_hojichar(real_texts: list[str]) -> None:
    for text in real_texts:
        assert hojichar_mask(text)[0] == _hojichar(text)
        assert nfkc(text)[0] == _NORMALIZER.apply(Document(text)).text
