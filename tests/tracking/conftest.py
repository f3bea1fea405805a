"""What tests of tracking share: a stand-in of W&B's service, and a login there."""

from collections.abc import Iterator

import pytest

from tests.tracking.ingest import KEY, Ingest, ingest


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    """The stand-in, where W&B's client finds it; rows come there every 15 s and at the end of a run."""
    with ingest() as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield service
