"""Postal addresses, where the rule is exact: 〒, seven digits, a prefecture, and a number of a house.

Without the 〒 nothing is masked: names of towns with numbers behind them are everywhere.
"""

import re

from tsumugu.corpus.transforms.digits import DIGIT, HYPHEN

ADDRESS_MASK = "〒000-0000"

_PREFECTURES = (
    "北海道|青森県|岩手県|宮城県|秋田県|山形県|福島県|茨城県|栃木県|群馬県|埼玉県|千葉県|東京都|神奈川県|"
    "新潟県|富山県|石川県|福井県|山梨県|長野県|岐阜県|静岡県|愛知県|三重県|滋賀県|京都府|大阪府|兵庫県|"
    "奈良県|和歌山県|鳥取県|島根県|岡山県|広島県|山口県|徳島県|香川県|愛媛県|高知県|福岡県|佐賀県|長崎県|"
    "熊本県|大分県|宮崎県|鹿児島県|沖縄県"
)
_KANJI = "[一二三四五六七八九十百〇]"
# Kanji numerals are part of many names (八王子市, 三条通), so one alone does not begin the number.
_FIRST = rf"(?:{DIGIT}{{1,5}}|{_KANJI}{{1,5}}(?=丁目|番地|番(?!町)|号))"
_NEXT = (
    rf"(?:[ \u3000]?[東西南北]?{DIGIT}{{1,5}}"
    rf"|[東西南北]?{_KANJI}{{1,5}}(?=丁目|番|号|条|線|の|[^一-龠]|\Z))"
)
_POSTAL_CODE = (
    rf"〒[ \u3000]?(?!000-0000){DIGIT}{{3}}{HYPHEN}?{DIGIT}{{4}}[ \u3000]{{0,2}}\n?[ \u3000]{{0,2}}"
)
# Town and quarter, up to the first number.
_TOWN = r"[^\n、。，．「」()（）・:：/／0-9０-９A-Za-zＡ-Ｚａ-ｚ-]{1,30}?"
# The number in its forms: 1-2-3, 一丁目二番三号, 123番地の4, 北3条西6丁目.
_ADDRESS = re.compile(
    rf"{_POSTAL_CODE}(?:{_PREFECTURES}){_TOWN}{_FIRST}"
    rf"(?:(?:丁目|番地の?|番町|番|号|の|条|線|{HYPHEN}){_NEXT}?){{0,6}}"
)


def mask_postal_addresses(text: str) -> tuple[str, int]:
    """Replace addresses by `ADDRESS_MASK`; also how many there were. Names of buildings stay.

    >>> mask_postal_addresses("〒604-8571 京都府京都市中京区寺町通御池上る上本能寺前町488番地　京都市役所")
    ('〒000-0000　京都市役所', 1)
    >>> mask_postal_addresses("〒１００－８９２６　東京都千代田区霞が関二丁目一番二号です。")
    ('〒000-0000です。', 1)

    Without a postal code, a prefecture, or a number, there is no exact rule:

    >>> mask_postal_addresses("東京都港区芝公園4-2-8。〒604-8571 京都市役所。〒100-8926 東京都千代田区。")[1]
    0

    A known false positive, in the sense that it is no secret: the address of a public office.

    >>> mask_postal_addresses("〒192-8501 東京都八王子市元本郷町三丁目24番1号 八王子市役所")[0]
    '〒000-0000 八王子市役所'
    """
    if "〒" not in text:
        return text, 0
    return _ADDRESS.subn(ADDRESS_MASK, text)
