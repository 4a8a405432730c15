"""Sealed texts: what opens them, and what does not."""

import pytest

from core.encryption import SecretBox
from core.errors import SecretsUnavailable

KEY = b"first key, of thirty-two bytes and more"
OTHER = b"second key, of thirty-two bytes and more"


def seal(box: SecretBox, text: str = "a text ☕", user_id: int = 7, purpose: str = "url") -> bytes:
    return box.seal(text, user_id=user_id, purpose=purpose)


def test_what_was_sealed_can_be_opened() -> None:
    box = SecretBox([KEY])
    assert box.open(seal(box), user_id=7, purpose="url") == "a text ☕"


def test_the_same_text_is_never_sealed_the_same_way_twice() -> None:
    box = SecretBox([KEY])
    assert seal(box) != seal(box)


def test_a_sealed_text_shows_nothing_of_itself() -> None:
    assert b"visible" not in seal(SecretBox([KEY]), "visible")


def test_an_older_key_still_opens_and_the_newest_seals() -> None:
    old = seal(SecretBox([OTHER]))
    both = SecretBox([KEY, OTHER])
    assert both.open(old, user_id=7, purpose="url") == "a text ☕"
    assert SecretBox([KEY]).open(seal(both), user_id=7, purpose="url") == "a text ☕"


@pytest.mark.parametrize(("user_id", "purpose"), [(8, "url"), (7, "secret")])
def test_moved_to_another_row_it_cannot_be_opened(user_id: int, purpose: str) -> None:
    box = SecretBox([KEY])
    with pytest.raises(SecretsUnavailable):
        box.open(seal(box), user_id=user_id, purpose=purpose)


def test_not_a_bit_of_it_can_be_changed() -> None:
    box = SecretBox([KEY])
    sealed = seal(box)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SecretsUnavailable):
            box.open(bytes(changed), user_id=7, purpose="url")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SecretsUnavailable, match="key that SECRETS_KEY does not hold"):
        SecretBox([OTHER]).open(seal(SecretBox([KEY])), user_id=7, purpose="url")


def test_without_a_key_nothing_is_sealed_opened_or_derived() -> None:
    box = SecretBox([])
    assert box.is_locked
    for act in (lambda: seal(box), lambda: box.open(b"x", user_id=7, purpose="url"), lambda: box.derive("a", "b")):
        with pytest.raises(SecretsUnavailable):
            act()


def test_what_is_derived_depends_on_key_purpose_and_name_and_on_nothing_else() -> None:
    found = {SecretBox([key]).derive(purpose, name) for key in (KEY, OTHER) for purpose in "ab" for name in "cd"}
    assert len(found) == 8
    assert SecretBox([KEY, OTHER]).derive("a", "c") == SecretBox([KEY]).derive("a", "c")
