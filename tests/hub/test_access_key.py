from __future__ import annotations

import pytest

from local_hub.access_key import AccessKey, TokenError

KEY = AccessKey.new()
RESOURCE = "hub.example/devices/d 1/modules/m"


def test_a_token_is_good_until_it_expires() -> None:
    """The check says when that is."""
    assert KEY.check(KEY.token(RESOURCE, 100), RESOURCE, now=99) == 100


def test_the_case_of_the_audience_is_ignored() -> None:
    """Host names are written either way."""
    assert KEY.check(KEY.token(RESOURCE.upper(), 100), RESOURCE, now=99) == 100


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (KEY.token(RESOURCE, 100), "expired"),
        (AccessKey.new().token(RESOURCE, 900), "signature"),
        (KEY.token(RESOURCE, 900).replace("se=900", "se=9000"), "signature"),
        (KEY.token("hub.example/devices/d 1/modules/other", 900), "not for"),
        ("", "no shared access signature"),
        ("SharedAccessSignature sr=x&se=1", "no shared access signature"),
        (KEY.token(RESOURCE, 900).replace("SharedAccessSignature", "Bearer"), "unknown kind"),
    ],
)
def test_other_tokens_are_refused(token: str, why: str) -> None:
    """The reason names what is wrong."""
    with pytest.raises(TokenError, match=why):
        KEY.check(token, RESOURCE, now=100)
