"""Menus, headers and footers go; prose that looks a little like them stays."""

import pytest

from tsumugu.corpus.transforms.boilerplate_lines import hojichar_keywords, remove_boilerplate_lines

PROSE = "\n".join(["この港町では、毎朝、魚の市が立つ。", "祖母は、よくそこへ私を連れていった。"] * 4)


def remove(text: str) -> str:
    return remove_boilerplate_lines(text)[0]


@pytest.mark.parametrize(
    "line",
    [
        "ホーム > 製品 > カメラ",
        "HOME ＞ 会社案内 ＞ 沿革",
        "ホーム | 会社概要 | アクセス | お問い合わせ",
        "トップページ　サイトマップ　プライバシーポリシー",
        "[トップ][目次][索引]",
        "前へ 1 2 3 4 次へ",
        "▲ページトップへ戻る",
        "<< ドキュメント インデックスに戻る",
        "このエントリーをはてなブックマークに追加",
        "Copyright © 1999-2020 つむぐ堂 All Rights Reserved.",
        "(C) 2011 つむぐ商店",
        "当サイトの内容の無断転載を禁じます。",
        "続きを読む",
        "Ｐａｇｅ　Ｔｏｐ",
        "第1章 定義と概要\xa0 \xa0第3章 ディストリビューションの選択",
    ],
)
def test_a_line_of_a_menu_goes_at_either_end(line: str) -> None:
    assert remove(f"{line}\n{PROSE}") == PROSE
    assert remove(f"{PROSE}\n\n{line}") == PROSE


@pytest.mark.parametrize(
    "line",
    [
        "トップ選手として活躍した。",
        "検索",
        "アクセス",
        "ファイル > 保存 > 名前を付けて保存",
        "価格は 100 円",
        "金額 1000",
        "家に戻る",
        "カテゴリーの数は三つある。",
        "(c) 三番目の選択肢",
        "English text",
        "copyright の考え方",
        "[注意] ここから先は危険です",
        "一覧に戻る道を、彼は知らなかった。",
    ],
)
def test_prose_and_headings_stay(line: str) -> None:
    assert remove(f"{line}\n{PROSE}") == f"{line}\n{PROSE}"
    assert remove(f"{PROSE}\n{line}") == f"{PROSE}\n{line}"


def test_words_that_may_be_headings_go_as_a_menu() -> None:
    assert remove(f"検索\n\nアクセス\n\nログイン\n\n{PROSE}") == PROSE
    assert remove(f"検索\nアクセス\n{PROSE}") == f"検索\nアクセス\n{PROSE}"


def test_the_dictionary_is_asked_only_near_the_ends() -> None:
    text = f"{PROSE}\nお問い合わせ\n{PROSE}"
    assert remove(text) == text


def test_lines_of_links_go_anywhere() -> None:
    links = "[ << 入出力 ] [トップ][目次][インデックス] [ スペース >> ]\n[ < 前の節 ] [ 上へ : 入力 ] []"
    assert remove(f"{links}\n\n{PROSE}\n{links}\n{PROSE}\n\n{links}") == f"{PROSE}\n{PROSE}"


def test_brackets_in_prose_and_code_are_no_links() -> None:
    text = "[注] この項は [1] を見よ。\n[a] [b]\n[Unit]\n" + PROSE
    assert remove(text) == text


def test_removed_lines_are_counted() -> None:
    text = f"ホーム > 製品\n{PROSE}\n[D]\n{PROSE}\nもう一行\n戻る\nトップへ戻る"
    assert remove_boilerplate_lines(text)[1] == (4,)


def test_a_page_of_nothing_but_menus_is_empty() -> None:
    assert remove("ホーム\n検索\nお問い合わせ\nサイトマップ") == ""


def test_hojichar_s_keywords_come_from_the_installed_package() -> None:
    keywords = hojichar_keywords()
    assert "トップページ" in keywords
    assert remove(f"{keywords[0]} | トップページ\n{PROSE}") == PROSE
