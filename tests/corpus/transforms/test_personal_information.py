"""Personal information is masked and counted; numbers that only look like it stay."""

import random

import pytest

from tsumugu.corpus.transforms.emails import EMAIL_MASK, mask_emails
from tsumugu.corpus.transforms.identity_numbers import (
    CREDIT_CARD_MASK,
    MY_NUMBER_MASK,
    has_known_issuer,
    is_luhn,
    is_my_number,
    mask_credit_cards,
    mask_my_numbers,
)
from tsumugu.corpus.transforms.ip_addresses import mask_ip_addresses
from tsumugu.corpus.transforms.personal_information import mask_personal_information
from tsumugu.corpus.transforms.phone_numbers import PHONE_MASK, mask_phone_numbers
from tsumugu.corpus.transforms.postal_addresses import ADDRESS_MASK, mask_postal_addresses


@pytest.mark.parametrize(
    "phone",
    [
        # fixed lines, with area codes of two to five digits
        "03-1234-5678", "06-6123-4567", "045-123-4567", "0422-12-3456", "01267-1-2345",
        # mobile, IP, toll-free and their like
        "090-1234-5678", "080-1234-5678", "070-1234-5678", "060-1234-5678", "050-1234-5678",
        "0120-123-456", "0120-12-3456", "0800-123-4567", "0570-123-456", "0570-00-1234", "0990-123-456",
        # full width, and whatever is taken for a hyphen
        "０３－１２３４－５６７８", "０９０－１２３４－５６７８", "03‐1234‐5678", "03−1234−5678",
        "03ー1234ー5678", "03–1234–5678",
        "０３ー１２３４ー５６７８", "03 - 1234 - 5678",
        # parentheses
        "(03)1234-5678", "(03) 1234-5678", "（０３）１２３４－５６７８", "03(1234)5678",
        "０３（１２３４）５６７８", "0422(12)3456",
        "(045)123-4567", "（0120）123-456",
        # other separators, none
        "090 1234 5678", "03 1234 5678", "0120 123 456", "03.1234.5678", "090.1234.5678", "09012345678",
        "08012345678",
        "05012345678", "0120123456", "08001234567", "090-12345678", "03-12345678",
        # with the country's code, and of other countries
        "+81-3-1234-5678", "+81 3 1234 5678", "+81-90-1234-5678", "+819012345678", "+81 (0)3-1234-5678",
        "＋81-3-1234-5678",
        "+1 650 555 0123", "+1-650-555-0123", "+1 (650) 555-0123", "+44 20 7946 0958", "+82-2-1234-5678",
        "+8613812345678",
        "+886 2 2345 6789",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "context", ["電話は{}まで。", "{}", "TEL:{}（代表）", "（{}）", "Tel.{} / ", "お電話{}\n"]
)
def test_telephone_numbers_are_masked_whole(phone: str, context: str) -> None:
    assert mask_phone_numbers(context.format(phone)) == (context.format(PHONE_MASK), 1)


@pytest.mark.parametrize("cue", ["TEL", "Tel: ", "電話番号：", "ＦＡＸ ", "℡", "☎"])
def test_ten_digits_on_their_own_need_a_word_before_them(cue: str) -> None:
    assert mask_phone_numbers(f"{cue}0312345678") == (f"{cue}{PHONE_MASK}", 1)
    assert mask_phone_numbers("番号0312345678") == ("番号0312345678", 0)


@pytest.mark.parametrize(
    "text",
    [
        "2023-08-14", "1-2-3", "10.0.0.1", "ISBN 978-4-00-310101-8", "ISBN 4-00-310101-4", "12345-678",
        "〒012-3456",
        "0123456789", "3.14159265358979", "0.09012345678", "1-03-1234-5678", "AB-03-1234-5678",
        "03-1234-5678-90",
        "03-123-4567", "090-123-4567", "0120-1234-567", "a1b2c3d4090123456780", "f09012345678a",
        "1e+10000000000",
        "2+81234567890", "+123456789", "C++11 2020 1234 5678", "00-0000-0000",
        "2020-01-01 03:04:05.678901", "昭和03年1234号5678",
        "05 2018 2019", "0x0312345678", "№ 0044-123-45",
    ],
)  # fmt: skip
def test_other_numbers_are_not_telephone_numbers(text: str) -> None:
    assert mask_phone_numbers(text) == (text, 0)


def test_several_numbers_in_a_row_are_each_masked() -> None:
    text = "TEL03-1234-5678 FAX03-1234-5679、090-1234-5678/080-1234-5678"
    assert mask_phone_numbers(text) == (f"TEL{PHONE_MASK} FAX{PHONE_MASK}、{PHONE_MASK}/{PHONE_MASK}", 4)


@pytest.mark.parametrize(
    "address",
    [
        "taro@example.org", "taro.yamada+web@mail.example.co.jp", "T_Y-1%x@a-b.example.museum", "x@y.jp",
        "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｃｏｍ", "taro＠example.jp", "0312345678@docomo.example.jp",
    ],
)  # fmt: skip
def test_email_addresses_are_masked_whole(address: str) -> None:
    assert mask_emails(f"宛先は{address}です。<{address}>") == (f"宛先は{EMAIL_MASK}です。<{EMAIL_MASK}>", 2)


@pytest.mark.parametrize(
    "text",
    [
        "a@b",
        "@example.org",
        "a@b.1",
        "logo@2x.png",
        "npm i @vue/cli",
        "x@localhost",
        "あ＠い．う",
        "a @ b.jp",
        "@@@@",
    ],
)
def test_other_at_signs_stay(text: str) -> None:
    assert mask_emails(text) == (text, 0)


@pytest.mark.parametrize(
    "address", ["153.120.44.18", "8.34.210.40", "2400:8500:1301::a153:44", "2001:db9:0:1:2:3:4:5"]
)
def test_public_ip_addresses_are_masked(address: str) -> None:
    assert mask_ip_addresses(f"{address} から [{address}]:80 へ") == ("0.0.0.0 から [0.0.0.0]:80 へ", 2)


@pytest.mark.parametrize(
    "text",
    [
        "192.168.0.1", "10.255.44.33", "172.16.99.99", "127.0.0.1", "169.254.33.44", "255.255.255.0",
        "0.0.0.0", "192.0.2.33",
        "224.0.99.251", "::1", "fe80::1", "2001:db8::ff", "fd00::1", "std::string", "10:20:30",
        "2001:10:20",
        "256.100.100.100", "1.2.3.4", "8.8.8.8", "6.34.2.1", "version 99.88.77.66", "Ver.99.88.77.66",
        "v99.88.77.66",
        "99.88.77.66.55", "app-99.88.77.66.tar", "Firefox/99.88.77.66", "099.088.077.066",
    ],
)  # fmt: skip
def test_private_addresses_and_versions_stay(text: str) -> None:
    assert mask_ip_addresses(text) == (text, 0)


def _with_check_digit(eleven: str) -> str:
    return next(eleven + digit for digit in "0123456789" if is_my_number(eleven + digit))


def test_each_eleven_digits_have_one_check_digit() -> None:
    draw = random.Random(5)
    for _ in range(200):
        eleven = "".join(draw.choices("0123456789", k=11))
        assert sum(is_my_number(eleven + digit) for digit in "0123456789") == 1


def test_a_published_example_has_the_check_digit_of_the_ordinance() -> None:
    # 12345678901, weights 6 5 4 3 2 7 6 5 4 3 2: 6+10+12+12+10+42+42+40+36+0+2 = 212.
    # 212 mod 11 = 3; 11 - 3 = 8.
    assert is_my_number("123456789018")


def test_my_numbers_are_masked_only_with_a_valid_check_digit() -> None:
    number = _with_check_digit("35418769251")
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    spaced = f"{number[:4]} {number[4:8]} {number[8:]}"
    wide = number.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    for form in (number, spaced, spaced.replace(" ", "-"), wide):
        assert mask_my_numbers(f"個人番号：{form}。") == ("個人番号：000000000000。", 1)
    for text in (wrong, f"1{number}", f"{number}1", f"1-{number}", f"{number}.5", f"A{number}"):
        assert mask_my_numbers(text) == (text, 0)


def test_times_written_in_twelve_digits_are_no_my_numbers() -> None:
    days = [f"2023{month:02}{day:02}" for month in range(1, 13) for day in (1, 17, 28)]
    times = [f"{day}{hour:02}15" for day in days for hour in range(24)]
    assert any(is_my_number(time) for time in times)
    assert mask_my_numbers("、".join(times))[1] == 0


@pytest.mark.parametrize(
    "card",
    [
        "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111",
        "４１１１ー１１１１ー１１１１ー１１１１", "5555555555554444",
        "2223003122003222", "378282246310005", "3782 822463 10005", "30569309025904", "3056 930902 5904",
        "3530111333300000",
        "6011111111111117", "6200000000000005",
    ],
)  # fmt: skip
def test_credit_card_numbers_are_masked(card: str) -> None:
    assert mask_credit_cards(f"カード番号 {card} です") == ("カード番号 0000-0000-0000-0000 です", 1)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112", "1234567812345670", "4901234567894", "9784003101018", "0000-0000-0000-0000",
        "4111 1111 1111",
        "4111 1111-1111 1111", "14111111111111111", "4111111111111111.5", "0.4111111111111111",
        "x4111111111111111",
        "4111 1111 1111 1111 1111",
    ],
)  # fmt: skip
def test_other_long_numbers_are_no_credit_cards(text: str) -> None:
    assert mask_credit_cards(text) == (text, 0)


def test_luhn_finds_every_single_wrong_digit() -> None:
    card = "4111111111111111"
    for place in range(16):
        for digit in set("0123456789") - {card[place]}:
            assert not is_luhn(card[:place] + digit + card[place + 1 :])
    assert not has_known_issuer("9" * 16)


@pytest.mark.parametrize(
    "address",
    [
        "〒604-8571 京都府京都市中京区寺町通御池上る上本能寺前町488番地",
        "〒100-8926　東京都千代田区霞が関2-1-2",
        "〒１００－８９２６　東京都千代田区霞が関２丁目１番２号",
        "〒192-8501\n東京都八王子市元本郷町三丁目24番1号",
        "〒060-8588 北海道札幌市中央区北3条西6丁目",
        "〒981-0914宮城県仙台市青葉区堤通雨宮町4-17",
        "〒512-8041 三重県四日市市山分町字川之下2番地の5",
    ],
)
def test_postal_addresses_are_masked_to_the_number_of_the_house(address: str) -> None:
    assert mask_postal_addresses(f"住所：{address}　市役所三階") == (f"住所：{ADDRESS_MASK}　市役所三階", 1)


@pytest.mark.parametrize(
    "text",
    [
        "東京都港区芝公園4-2-8",
        "〒604-8571 京都市役所",
        "〒100-8926 東京都千代田区霞が関。1番",
        "〒000-0000 東京都港区1-2-3",
        "〒マーク",
    ],
)
def test_addresses_without_postal_code_prefecture_and_number_stay(text: str) -> None:
    assert mask_postal_addresses(text) == (text, 0)


def test_everything_is_counted_in_its_own_column() -> None:
    text = (
        "taro@example.org、090-1234-5678、03-1234-5678、153.120.44.18、個人番号 123456789018、"
        "4111 1111 1111 1111、〒604-8571 京都府京都市中京区488番地"
    )
    masked, counts = mask_personal_information(text)
    assert counts == (1, 2, 1, 1, 1, 1)
    assert masked == (
        f"{EMAIL_MASK}、{PHONE_MASK}、{PHONE_MASK}、0.0.0.0、個人番号 {MY_NUMBER_MASK}、"
        f"{CREDIT_CARD_MASK}、{ADDRESS_MASK}"
    )
    assert mask_personal_information(masked)[0] == masked


def test_real_prose_holds_no_identity_numbers_and_few_of_the_rest(real_texts: list[str]) -> None:
    """A guard against patterns that become too greedy: the texts hold planted and genuine numbers."""
    totals = [0] * 6
    for text in real_texts:
        totals = [a + b for a, b in zip(totals, mask_personal_information(text)[1], strict=True)]
    emails, phones, ips, my_numbers, cards, addresses = totals
    assert (my_numbers, cards) == (0, 0)
    assert 0 < phones < 100
    assert ips < 20
    assert addresses < 20
    assert emails < 150
