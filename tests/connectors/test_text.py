"""Foreign text is shown, never obeyed."""

from connectors.text import visible


def test_only_printable_text_is_left_alone() -> None:
    assert visible("plain text") == "plain text"
    assert visible("a\r\x07\x9b") == "a\\r\\x07\\x9b"
