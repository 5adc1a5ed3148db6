"""Blocks of source code are cut out of Japanese pages."""

from tsumugu.corpus.transforms.source_code_blocks import FEWEST_LINES, remove_source_code_blocks

BEFORE = "次のプログラムは、標準入力から数を読み、その和を書き出します。"
AFTER = "実行すると、結果が画面に出ます。うまくいかないときは、前の節を見てください。"
CODE = """import sys

total = 0
for line in sys.stdin:  # 一行ずつ
    total += int(line)
    if total > 10:
        break
print(f"{total}")
sys.exit(0)"""


def remove(text: str) -> str:
    return remove_source_code_blocks(text)[0]


def test_a_block_goes_whole_with_its_weaker_lines() -> None:
    assert remove(f"{BEFORE}\n\n{CODE}\n\n{AFTER}") == f"{BEFORE}\n\nimport sys\n\n{AFTER}"


def test_short_blocks_stay() -> None:
    text = f"{BEFORE}\n" + "x[0] = {};\n" * (FEWEST_LINES - 1) + AFTER
    assert remove(text) == text


def test_a_page_of_code_stays_whole() -> None:
    text = "x[0] = {};\n" * 40 + "# end"
    assert remove(text) == text


def test_japanese_lines_end_a_block() -> None:
    text = f"{BEFORE}\n" + f"x[0] = {{}};\ny();\n{AFTER}\n" * 4
    assert remove(text) == text


def test_code_lines_are_counted() -> None:
    text = f"{BEFORE}\n" + "x[0] = {};\n" * 7 + AFTER
    assert remove_source_code_blocks(text) == (f"{BEFORE}\n{AFTER}", (7,))


def test_characters_beyond_the_basic_plane_do_not_shift_the_cut() -> None:
    assert remove(f"𠮷野家👍{BEFORE}\n" + "x[0] = {};\n" * 7 + AFTER) == f"𠮷野家👍{BEFORE}\n{AFTER}"
