"""What the page of governance tells of webhooks."""

import pytest

from treadle.ui.governance import host_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/T0/SECRET", "https://hooks.example/…"),
        ("https://ada:secret@hooks.example:8443/", "https://hooks.example:8443"),
        ("http://hooks.example?token=secret", "http://hooks.example/…"),
        ("http://[::1]:9/secret#secret", "http://[::1]:9/…"),
    ],
)
def test_the_address_of_a_webhook_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert host_of(url) == shown
