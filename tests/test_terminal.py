"""What people look at: every character has a shape, and columns stay in line."""

from tsumugu.terminal import side_by_side
from tsumugu.visible import visible_piece


def test_pieces_show_what_has_no_shape() -> None:
    shown = {
        " ": "␣",
        "\n": "↵",
        "\t": "⇥",
        "\u3000": "□",
        "\r": "⟨U+000D⟩",
        "\u202e": "⟨U+202E⟩",
        "\u2028": "⟨U+2028⟩",
        "\u200d": "⟨U+200D⟩",
        "\u3164": "⟨U+3164⟩",
        "\U000e0041": "⟨U+E0041⟩",
        "\u3099": "◌\u3099",
        "か\u3099": "か\u3099",
        "紡ぐ</script>": "紡ぐ</script>",
    }
    assert {text: visible_piece(text) for text in shown} == shown


def test_long_cells_are_wrapped_into_columns_of_one_width() -> None:
    text = side_by_side(["A", "B"], [["日本語abcか\u3099", "x"], ["a", "漢字" * 4]], width=18)
    assert text.split("\n") == [
        "A         B",
        "",
        "日本語ab  x",
        "cか\u3099",
        "",
        "a         漢字漢字",
        "          漢字漢字",
    ]
