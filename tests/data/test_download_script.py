"""The script answers failure with one sentence and a non-zero exit status."""

from pathlib import Path

import pytest

from scripts import download
from sparsity.data.published import catalogue
from sparsity.data.published.download import RemoteFile


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = RemoteFile("toy/labels.gz", (), md5="0", unzipped_md5="1")
    for module in (download, catalogue):
        monkeypatch.setattr(module, "FILES", {"toy": {"labels": file}})
    monkeypatch.setenv("SPARSITY_DATA_MIRROR", str(tmp_path / "empty"))


def test_a_failure_is_one_sentence_and_exit_status_1(
    unreachable: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download.main(["toy", "--data-dir", str(tmp_path)]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("toy/labels.gz could not be had")


def test_all_means_every_data_set(unreachable: None, tmp_path: Path) -> None:
    assert download.main(["all", "--data-dir", str(tmp_path)]) == 1


def test_an_unknown_data_set_is_answered_with_the_known_ones(
    unreachable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        download.main(["tow"])
    assert caught.value.code == 2
    assert "invalid choice: 'tow' (choose from" in capsys.readouterr().err
