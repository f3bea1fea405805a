"""What ranks tell each other, and which part of a step is whose."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from sparsity.hardware import ranks
from sparsity.hardware.ranks import Part, Ranks
from tests.rank_processes import forked
from tests.rank_threads import together

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts the second of two processes."""
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("size", "num_micro_batches"), [*product([1, 2, 3, 4, 6], [1, 2, 3, 4])])
def test_the_parts_of_all_ranks_are_each_example_of_each_micro_batch_once(size: int, num_micro_batches: int) -> None:
    found = []
    for rank in range(size):
        one = Ranks()
        one.rank, one.size = rank, size
        part = one.part(num_micro_batches)
        own = range(part.first, num_micro_batches, part.stride)
        found += [(batch, example) for batch in own for example in range(12)[part.examples]]
    assert sorted(found) == list(product(range(num_micro_batches), range(12)))


def test_whole_micro_batches_go_to_the_ranks_as_far_as_there_are_enough() -> None:
    one = Ranks()
    one.rank, one.size = 1, 2
    assert one.part(4) == Part(first=1, stride=2) and one.part(3) == Part(place=1, size=2)


def test_processes_joined_by_gloo_have_each_others_sums_highest_numbers_and_values() -> None:
    def tell() -> object:
        here = ranks.here()
        pair = [torch.full((2, 2), float(here.rank)), torch.tensor(4.0 * here.rank)]
        here.mean_(pair)
        return here.size, pair[0].tolist(), float(pair[1]), here.highest([here.rank, 5]), here.gather(here.rank)

    expected = (2, [[0.5, 0.5], [0.5, 0.5]], 2.0, [1, 5], [0, 1])
    assert forked(2, tell) == [expected, expected]


def test_what_the_first_does_the_others_know() -> None:
    done: list[int] = []

    def act(rank: int) -> int:
        return ranks.here().first(lambda: done.append(rank) or 7)  # type: ignore[func-returns-value]

    assert together(3, act) == [7, 7, 7] and done == [0]


def test_where_the_first_fails_the_others_end_without_a_word() -> None:
    def act(rank: int) -> str:
        with pytest.raises((OSError, SystemExit)) as caught:
            ranks.here().first(lambda: Path("/nowhere/at/all").read_text())
        return type(caught.value).__name__

    assert together(2, act) == ["FileNotFoundError", "SystemExit"]


def test_the_first_acts_before_all_others_where_each_is_to_act() -> None:
    order: list[int] = []
    together(3, lambda rank: ranks.here().in_turn(lambda: order.append(rank)))
    assert order[0] == 0 and sorted(order) == [0, 1, 2]


def test_a_share_of_what_is_only_walked_through_is_every_size_th_item() -> None:
    assert together(2, lambda rank: list(ranks.here().share(iter(range(5))))) == [[0, 2, 4], [1, 3]]


def test_a_process_by_itself_is_first_and_has_all() -> None:
    here, items = ranks.here(), [1, 2]
    assert (here.rank, here.size, here.is_first, ranks.is_first()) == (0, 1, True, True)
    assert here.share(items) is items and here.first(lambda: 3) == 3 and here.in_turn(lambda: 4) == 4
    assert here.part(3) == Part() and here.gather(5) == [5] and here.highest([6]) == [6]


def test_a_process_by_itself_joins_nothing() -> None:
    code = (
        "import sys; from sparsity.hardware import ranks\n"
        "with ranks.joined(on_gpus=False): assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.usefixtures("launched")
def test_torchruns_variables_say_who_this_is_and_a_world_without_a_rank_is_no_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ranks.number_launched() == 2 and not ranks.is_first()
    monkeypatch.delenv("RANK")
    assert ranks.number_launched() == 1 and ranks.is_first()


@pytest.mark.usefixtures("launched")
def test_torchrun_starts_one_run_and_not_a_sweep() -> None:
    ranks.check_launch(has_several_runs=False)
    with pytest.raises(ValueError, match=r"^torchrun trains one run: leave out -m and sweep=, or start "):
        ranks.check_launch(has_several_runs=True)


@pytest.mark.usefixtures("launched")
def test_each_process_has_a_gpu_of_its_own() -> None:
    assert ranks.own_place(num_gpus=2) == 1
    with pytest.raises(ValueError, match=r"^2 processes were started where 1 of the GPUs can be seen: "):
        ranks.own_place(num_gpus=1)
