"""How complete an answer is."""

from query.answer import Completeness


def test_a_share_is_of_what_is_expected() -> None:
    assert Completeness(1, 4).share == 0.75
    assert Completeness(0, 0).share == 1.0
    assert Completeness(None, None).share is None
    assert Completeness(0, None).share is None
