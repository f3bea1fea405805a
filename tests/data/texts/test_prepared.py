"""The token cache is what was written, or made anew; a killed process leaves nothing that holds or fills its folder."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsity.data.texts import corpora, prepared
from sparsity.data.texts.prepared import Prepared, Vocabulary, prepare
from sparsity.files import is_held

REPOSITORY = Path(__file__).resolve().parents[3]
VOCABULARY = Vocabulary(size=300, joint=True, max_tokens=20)


def made(data_dir: Path) -> Prepared:
    return prepare(corpora.toy_wmt14(), VOCABULARY, str(data_dir))


def folder_of(data_dir: Path) -> Path:
    (folder,) = (data_dir / "cache").iterdir()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a cache, by name."""
    data_dir = tmp_path_factory.mktemp("whole")
    made(data_dir)
    return {path.name: path.read_bytes() for path in folder_of(data_dir).iterdir()}


@pytest.fixture
def cache(tmp_path: Path, whole: dict[str, bytes]) -> Path:
    """The folder of a cache below tmp_path."""
    settings = [prepared.FORMAT, (toy := corpora.toy_wmt14()).content, toy.special_tokens, toy.keep]
    folder = tmp_path / "cache" / f"{toy.name}-{corpora.digest([*settings, *vars(VOCABULARY).values()])}"
    folder.mkdir(parents=True)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["train.source.flat.npy", "train.target.offsets.npy", "tokenizer.json", "done.json"])
@pytest.mark.parametrize("damage", ["truncated", "a bit flipped"])
def test_a_damaged_file_of_the_cache_is_named_and_made_anew(
    cache: Path, whole: dict[str, bytes], caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    content = bytearray(whole[name])
    content[len(content) // 2] ^= 0xFF
    (cache / name).write_bytes(content[:-7] if damage == "truncated" else content)
    made(cache.parents[1])
    assert f"warning: {name} in {cache}: not as once written, made anew." in caplog.messages
    assert {path.name: path.read_bytes() for path in cache.iterdir()}[name] == whole[name]


def test_a_cache_of_the_time_before_digests_is_made_anew(cache: Path, whole: dict[str, bytes]) -> None:
    done = json.loads(whole["done.json"])
    (cache / "done.json").write_text(json.dumps({key: value for key, value in done.items() if key != "sha256"}))
    made(cache.parents[1])
    assert (cache / "done.json").read_bytes() == whole["done.json"]


def test_a_whole_cache_is_used_as_it_is(
    cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "_make", None)
    with caplog.at_level(logging.INFO):
        made(cache.parents[1])
    assert caplog.messages == []


def test_who_has_mapped_a_cache_does_not_notice_that_it_is_made_anew(cache: Path) -> None:
    mapped = made(cache.parents[1]).splits["train"].sources.flat
    before = mapped.copy()
    (cache / "tokenizer.json").write_bytes(b"")
    inode = (cache / "train.source.flat.npy").stat().st_ino
    made(cache.parents[1])
    assert (mapped == before).all() and (cache / "train.source.flat.npy").stat().st_ino != inode


# A worker that tokenises kills its parent, which holds a run and the cache, and then goes on for a minute.
ORPHANS = """
import os, signal, sys, time
from pathlib import Path
from sparsity.data.texts import corpora, prepared
from sparsity.files import locked

def kill(*_):
    os.kill(parent, signal.SIGKILL)
    time.sleep(60)

parent, prepared.encode, prepared.PAIRS_PER_PROCESS = os.getpid(), kill, 10
os.sched_getaffinity = lambda _: {0, 1}
with locked(Path(sys.argv[1]) / "run", wait=False):
    prepared.prepare(corpora.toy_wmt14(), prepared.Vocabulary(300, True, 20), sys.argv[1])
"""


def children_of(session: int) -> list[int]:
    """The living processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True).stdout
    return [int(pid) for pid, state in (line.split() for line in found.splitlines()) if not state.startswith("Z")]


def test_a_killed_process_leaves_no_lock_behind_no_children_and_no_scratch(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=REPOSITORY, start_new_session=True)
    assert process.wait(120) == -9
    assert not is_held(tmp_path / "run") and not is_held(folder_of(tmp_path)), "else they are refused for ever"
    deadline = time.monotonic() + 20
    while children_of(process.pid):
        assert time.monotonic() < deadline, "they wait for work that nobody brings"
        time.sleep(0.1)
    assert list(folder_of(tmp_path).glob("scratch-*"))
    made(tmp_path)
    assert not list(folder_of(tmp_path).glob("scratch-*"))
