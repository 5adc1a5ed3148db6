"""Foreign paragraphs, lines without kana, ASCII runs."""

from tsumugu.corpus.transforms.japanese_lines import (
    remove_ascii_runs,
    remove_foreign_paragraphs,
    remove_lines_without_kana,
)

PAGE = "設定の方法を説明します。必要なものを入れてください。うまくいかないときは、次の章を見てください。"
ENGLISH = "This paragraph has not been translated yet and it will therefore be removed."


def test_untranslated_paragraphs_go_and_code_stays() -> None:
    code = "$ sudo apt-get install --no-install-recommends foo=1.2 bar=3.4 baz qux"
    text = f"{PAGE}\n{ENGLISH}\n{code}\nDebian のインストール"
    kept, (removed,) = remove_foreign_paragraphs(text)
    assert removed == 1
    assert "This paragraph" not in kept
    assert "apt-get" in kept


def test_foreign_paragraphs_go_at_either_end() -> None:
    assert remove_foreign_paragraphs(f"{ENGLISH}\n\n{PAGE}\n\n{ENGLISH}") == (PAGE, (2,))


def test_a_page_that_is_hardly_japanese_is_left_for_the_rules() -> None:
    text = f"日本語\n{ENGLISH}"
    assert remove_foreign_paragraphs(text) == (text, (0,))


def test_an_english_sentence_within_a_japanese_line_stays() -> None:
    text = f"{PAGE}「{ENGLISH}」と書いてあった。"
    assert remove_foreign_paragraphs(text) == (text, (0,))


def test_only_lines_with_kana_are_kept() -> None:
    text = "中文的行\nかなの行\n\nEnglish\nカタカナ\nﾊﾝｶｸ"
    assert remove_lines_without_kana(text) == ("かなの行\nカタカナ\nﾊﾝｶｸ", (2,))


def test_urls_go_and_the_japanese_after_them_stays() -> None:
    assert remove_ascii_runs("http://example.org/?q=1を見る")[0] == "を見る"


def test_long_ascii_runs_go_and_shorter_ones_stay() -> None:
    for length, kept in ((99, "x" * 99), (100, ""), (5000, "")):
        assert remove_ascii_runs(f"あ{'x' * length}い\nう")[0] == f"あ{kept}い\nう"


def test_runs_do_not_cross_lines() -> None:
    text = "あ" + "\n".join(["x" * 60] * 3)
    assert remove_ascii_runs(text) == (text, (0,))


def test_texts_without_kana_keep_their_ascii() -> None:
    text = "https://example.org/ " * 20
    assert remove_ascii_runs(text) == (text, (0,))
