"""Text that is not ours, before a person sees it."""


def visible(text: str) -> str:
    """The text with control characters written out, so that no venue can move our cursor or forge a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
