"""A signature that does not verify opens no door."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.project import declare, write
from tests.registry.test_service import platform, registered, tamper
from treadle.kernel.errors import Corrupt
from treadle.platform.wiring import Embedded
from treadle.registry.tables import approvals
from treadle.scope.policies import RolloutPolicy

__all__ = ["platform"]


@pytest.mark.parametrize("forged, live", [(False, 1), (True, None)])
def test_only_a_signature_that_verifies_puts_a_version_live(
    platform: Embedded, tmp_path: Path, forged: bool, live: int | None
) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n")
    declare(platform, folder, name="shop", rollout=RolloutPolicy(approve=["production"]))
    registered(platform, "a")
    platform.registry.approve(model="shop", number=1)
    if forged:
        tamper(platform, approvals, signature="f" * 64)
    platform.delivery.deploy(version="shop:1")
    platform.delivery.reconcile()
    assert platform.delivery.endpoint(name="shop").champion == live


@pytest.mark.parametrize("left", [b"", b"short"])
def test_a_damaged_key_signs_nothing(
    open_home: Callable[..., Embedded], tmp_path: Path, left: bytes
) -> None:
    open_home().close()
    (tmp_path / "home" / ".signing.key").write_bytes(left)
    with pytest.raises(Corrupt, match=r"is damaged: it has \d of 32 bytes"):
        open_home()
