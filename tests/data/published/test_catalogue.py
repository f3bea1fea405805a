"""Where published files are had from."""

import pytest

from sparsity.data.published.catalogue import ARCHIVES, FILES
from sparsity.data.published.checkpoints import PUBLISHED
from sparsity.data.published.download import RemoteFile

ALL = [file for files in FILES.values() for file in files.values()]
ALL += [*ARCHIVES.values(), *(checkpoint.file for checkpoint in PUBLISHED.values())]


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.path)
def test_nothing_is_fetched_over_a_line_that_others_can_write_on(file: RemoteFile) -> None:
    assert all(url.startswith("https://") for url in file.urls)
