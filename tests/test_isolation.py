"""Do the guards of conftest.py hold: no network, and one thread a worker?"""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import torch

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


def test_torch_computes_with_one_thread() -> None:
    assert torch.get_num_threads() == 1


def test_wandb_and_hugging_face_are_told_to_stay_offline() -> None:
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"


def test_no_login_of_the_developer_is_seen() -> None:
    assert "WANDB_API_KEY" not in os.environ
    assert os.environ["NETRC"] == os.devnull
