"""Do the guards of conftest.py hold: no network, and one thread a worker unless the environment says otherwise?"""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCUMENTATION_ADDRESS = "192.0.2.1"  # RFC 5737: belongs to nobody


def test_a_connection_beyond_this_machine_fails_the_test() -> None:
    with socket.socket() as outside, pytest.raises(pytest.fail.Exception, match="tried to reach"):
        outside.connect((DOCUMENTATION_ADDRESS, 80))


def test_a_connection_to_this_machine_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())


def test_an_http_request_finds_no_network() -> None:
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{DOCUMENTATION_ADDRESS}/", timeout=5)


def test_an_http_request_of_a_child_finds_no_network() -> None:
    request = f"import urllib.request; urllib.request.urlopen('http://{DOCUMENTATION_ADDRESS}/', timeout=5)"
    child = subprocess.run([sys.executable, "-c", request], capture_output=True, text=True)
    assert "Connection refused" in child.stderr


def test_a_test_that_changes_the_number_of_threads() -> None:
    torch.set_num_threads(3)


def test_does_so_for_itself_alone() -> None:
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])


@pytest.mark.parametrize(("asked", "expected"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_a_number_of_threads_in_the_environment_is_kept(asked: dict[str, str], expected: str) -> None:
    outside = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = "import os, tests.conftest; print(os.environ['OMP_NUM_THREADS'])"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, env=outside | asked, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


def test_wandb_and_hugging_face_are_told_to_stay_offline() -> None:
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"


def test_no_login_of_the_developer_is_seen() -> None:
    assert "WANDB_API_KEY" not in os.environ
    assert os.environ["NETRC"] == os.devnull
