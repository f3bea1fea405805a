"""scripts/campaign.py: is a run that was cut on one machine taken up on another, out of small files?"""

import json
import os
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scripts import campaign
from sparsity.files import write_json
from sparsity.run.jobs import EXPERIMENTS
from sparsity.run.stopping import RESTART, Stopped
from tests.tiny_runs import TINY_OVERRIDES

RUN = "runs/lenet5_mnist/smoke-relevance-0123456789/seed0"


def leave(directory: Path, files: dict[str, int], status: str = "running") -> None:
    """A run directory with files of so many bytes."""
    for name, size in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    write_json(directory / "manifest.json", {"status": status})


def brought_home(tmp_path: Path, part_bytes: int = 1 << 20, total_bytes: int = 1 << 20) -> set[str]:
    """The files, below the results, that another machine finds."""
    out, there = tmp_path / "out", tmp_path / "there"
    out.mkdir(exist_ok=True)
    campaign.pack(tmp_path / "here", out, part_bytes, total_bytes)
    (out / "campaign.json").write_text("{}")
    campaign.unpack(out, there)
    return {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}


def test_a_run_under_way_comes_home_with_what_it_needs_to_go_on(tmp_path: Path) -> None:
    kept = ("last.pt", "before_cut.pt")  # from the second the authors' final phase may start
    files = {"metrics.jsonl": 10, **{f"checkpoints/regularise/{name}": 10 for name in kept}}
    spare = {"checkpoints/regularise/last.previous.pt": 10}
    leave(tmp_path / "here" / RUN, files | spare)
    assert brought_home(tmp_path) == {f"{RUN}/{name}" for name in (*files, "manifest.json")}


def test_of_a_finished_run_its_summaries_and_networks_are_enough(tmp_path: Path) -> None:
    files = {"summary.json": 10, "card.json": 10, "networks/last.safetensors": 10}
    leave(tmp_path / "here" / RUN, files | {"checkpoints/finetune/last/last.pt": 10}, status="done")
    assert brought_home(tmp_path) == {f"{RUN}/{name}" for name in (*files, "manifest.json")}
    with tarfile.open(tmp_path / "out/summaries.tar.gz") as archive:
        assert sorted(archive.getnames()) == [
            f"{RUN}/{name}" for name in ("card.json", "manifest.json", "summary.json")
        ]


def test_of_a_finished_baseline_its_network_is_enough(tmp_path: Path) -> None:
    baseline = "runs/baselines/smoke-0123456789/seed0"
    leave(tmp_path / "here" / baseline, {"checkpoints/baseline/scored.pt": 10, "checkpoints/baseline/last.pt": 10})
    assert brought_home(tmp_path) == {f"{baseline}/checkpoints/baseline/scored.pt"}


def test_the_state_comes_in_parts_that_are_put_together_again(tmp_path: Path) -> None:
    leave(tmp_path / "here" / RUN, {"checkpoints/regularise/last.pt": 5000})
    assert f"{RUN}/checkpoints/regularise/last.pt" in brought_home(tmp_path, part_bytes=1024)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("state.tar.part*"))]
    assert len(sizes) >= 5 and max(sizes) == 1024
    again, first = (tmp_path / where / RUN / "checkpoints/regularise/last.pt" for where in ("there", "here"))
    assert again.read_bytes() == first.read_bytes()


def test_a_run_too_large_to_come_home_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "here" / RUN, {"checkpoints/regularise/last.pt": 3 << 20})
    small = RUN.replace("relevance", "l2")
    leave(tmp_path / "here" / small, {"checkpoints/regularise/last.pt": 10})
    assert all(name.startswith(small) for name in brought_home(tmp_path))
    assert capsys.readouterr().out == f"left behind: {RUN.removeprefix('runs/')} (3 MiB)\n"


def test_a_stage_is_stopped_when_time_is_out(tmp_path: Path) -> None:
    stage = campaign.Stage("endless", (sys.executable, "-c", "import time; time.sleep(60)"))
    started = time.monotonic()
    assert campaign.run(stage, dict(os.environ), started + 1.0, tmp_path / "log.txt") == "out of time"
    assert campaign.run(stage, dict(os.environ), started, tmp_path / "log.txt") == "out of time"
    assert time.monotonic() - started < 30


DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
DEAF_GRANDCHILD = f"""
import sys
from sparsity.run.stopping import Children

children = Children()
with children.guarded():
    children.run([sys.executable, "-c", {DEAF!r}])
"""


def test_a_stage_that_is_stopped_takes_its_children_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SECONDS_TO_STOP", 2.0)
    stage = campaign.Stage("deaf", (sys.executable, "-c", DEAF_GRANDCHILD))
    mark = f"{tmp_path}"  # by which the grandchild is found among all processes
    environment = dict(os.environ, MARK=mark)
    assert campaign.run(stage, environment, time.monotonic() + 2.0, tmp_path / "log.txt") == "out of time"
    marked = [path for path in Path("/proc").glob("[0-9]*/environ") if mark.encode() in read_if_there(path)]
    assert not marked


ASKS_TO_STOP = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"


def test_a_signal_stops_the_stage_in_flight_and_what_is_there_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [campaign.Stage(name, (sys.executable, "-c", ASKS_TO_STOP)) for name in ("first", "second")]
    monkeypatch.setattr(campaign, "stages", lambda *_: ours)
    started = time.monotonic()
    with pytest.raises(Stopped) as caught:
        campaign.main(["--minutes", "9", "--out", str(tmp_path)])
    assert caught.value.code == RESTART and time.monotonic() - started < 50
    states = json.loads((tmp_path / "campaign.json").read_text())
    assert states == {"first": "out of time", "second": "out of time"}
    assert (tmp_path / "summaries.tar.gz").is_file()


def read_if_there(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


def planned(*arguments: str) -> dict[str, tuple[str, ...]]:
    """Stage -> its command."""
    options = campaign.parse_arguments(["--minutes", "9", "--out", "out", "--machine", "cpu", *arguments])
    return {stage.name: stage.command[1:] for stage in campaign.stages(options, Path("runs"))}


def test_all_experiments_are_rehearsed_and_run_one_by_one_in_the_stated_order() -> None:
    names = list(planned("--stages", "tests,rehearsal,experiments"))
    rehearsals = [f"rehearsal {name}" for name in EXPERIMENTS]
    assert names == ["tests", *rehearsals, *(f"experiment {name}" for name in EXPERIMENTS)]


def test_each_experiment_has_its_own_benchmark() -> None:
    commands = {name.removeprefix("bench "): command[1] for name, command in planned("--stages", "bench").items()}
    images = {"lenet5_mnist": "step", "lenet5_fashion_mnist": "step", "resnet32_cifar10": "step"}
    large = {"transformer_taskmaster1": "text", "transformer_wmt14": "text", "vgg16_imagenet": "step"}
    assert commands == {**images, **large, "vgg16_imagenet loader": "loader"}


def test_a_setting_of_one_experiment_reaches_that_one_and_rehearsals_take_the_machines_alone() -> None:
    own = ("transformer_wmt14:dataset.source=standin", "transformer_wmt14:machine.precision=bf16")
    commands = planned(*(word for setting in own for word in ("--set", setting)))
    with_data = {name for name, command in commands.items() if "dataset.source=standin" in command}
    assert with_data == {"experiment transformer_wmt14"}
    with_precision = {name for name, command in commands.items() if "machine.precision=bf16" in command}
    assert with_precision == {f"{kind} transformer_wmt14" for kind in ("bench", "rehearsal", "experiment")}


def test_the_loader_is_timed_on_what_the_experiment_reads() -> None:
    sample = planned("--stages", "bench", "--set", "vgg16_imagenet:dataset.source=sample")
    assert sample["bench vgg16_imagenet loader"][1:4] == ("loader", "--source", "sample")
    noise = planned("--stages", "bench", "--set", "vgg16_imagenet:dataset.source=generated")
    assert "bench vgg16_imagenet loader" not in noise


def test_seeds_and_pruners_are_those_of_the_experiments_and_a_rehearsal_takes_one() -> None:
    commands = planned("--seeds", "3,4", "--pruners", "relevance,l2", "--experiments", "lenet5_mnist")
    assert {"3,4", "relevance,l2"} <= set(commands["experiment lenet5_mnist"])
    assert {"3", "relevance"} <= set(commands["rehearsal lenet5_mnist"])


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("print('error: There is no data/x: unpack it.'); exit(1)", "failed: There is no data/x: unpack it."),
        ("exit(2)", "failed: exit status 2, see log.txt"),
        ("print('error: but it went on')", "done"),
    ],
)
def test_a_stage_that_failed_says_why_in_a_sentence(tmp_path: Path, script: str, state: str) -> None:
    (tmp_path / "log.txt").write_text("error: of an earlier stage\n")
    stage = campaign.Stage("one", (sys.executable, "-c", script))
    assert campaign.run(stage, dict(os.environ), time.monotonic() + 60, tmp_path / "log.txt") == state


def test_a_stage_that_failed_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = (campaign.Stage(name, (sys.executable, "-c", f"exit({name == 'bad'})")) for name in ("bad", "good"))
    monkeypatch.setattr(campaign, "stages", lambda *_: [bad, good])
    assert campaign.main(["--minutes", "2", "--out", str(tmp_path)]) == 1
    states = json.loads((tmp_path / "campaign.json").read_text())
    assert states["bad"].startswith("failed") and states["good"] == "done"


def test_what_an_earlier_call_has_done_is_not_run_again_and_a_lack_of_time_is_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = {"first": "done", "second": "failed: no"}
    write_json(tmp_path / "start" / "campaign.json", earlier)
    stages = [campaign.Stage(name, (name,)) for name in ("first", "third")]
    monkeypatch.setattr(campaign, "stages", lambda *_: stages)
    monkeypatch.setattr(campaign, "run", lambda stage, *_: {"third": "out of time"}[stage.name])
    assert campaign.main(["--minutes", "9", "--out", str(tmp_path / "out"), "--from", str(tmp_path / "start")]) == 3
    assert json.loads((tmp_path / "out/campaign.json").read_text()) == earlier | {"third": "out of time"}


@pytest.mark.slow
def test_missing_data_are_said_in_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSITY_DATA_MIRROR", raising=False)
    only = ["--stages", "experiments", "--experiments", "vgg16_imagenet", "--scale", "smoke", "--machine", "cpu"]
    source = ["--set", "vgg16_imagenet:dataset.source=real", "--data-dir", str(tmp_path / "data")]
    assert campaign.main(["--minutes", "3", "--out", str(tmp_path / "out"), *only, *source]) == 1
    state = json.loads((tmp_path / "out/campaign.json").read_text())["experiment vgg16_imagenet"]
    assert "There is no" in state and "unpack them as" in state


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--experiments", "lenet5_mnist", "--set", "lenet:seed=1"],
            "--set lenet:seed=1 is not EXPERIMENT:KEY=VALUE with one of lenet5_mnist.",
        ),
        (["--stages", "test"], "--stages=test is unknown; choose of tests, bench, rehearsal, experiments."),
        (["--wheels", "nowhere"], "--wheels=nowhere holds no *.whl; name a folder of wheels, or leave it out."),
        (["--from", "nowhere"], "--from=nowhere holds no campaign.json; name the --out of an earlier call."),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit) as caught:
        campaign.main(["--minutes", "1", "--out", str(tmp_path), *arguments])
    assert str(caught.value) == f"error: {sentence}"


def test_a_state_that_did_not_come_whole_is_one_sentence(tmp_path: Path) -> None:
    leave(tmp_path / "here" / RUN, {"checkpoints/regularise/last.pt": 5000})
    brought_home(tmp_path, part_bytes=1024)
    (tmp_path / "out/campaign.json").write_text("{")
    with pytest.raises(SystemExit, match=r"campaign\.json is damaged; bring it once more\.$"):
        campaign.unpack(tmp_path / "out", tmp_path / "again")
    (tmp_path / "out/state.tar.part02").unlink()
    with pytest.raises(SystemExit, match=r"are no whole archive; bring all of them\.$"):
        campaign.unpack(tmp_path / "out", tmp_path / "again")


@pytest.mark.slow
def test_a_campaign_that_ran_out_of_time_is_finished_by_the_next_on_another_machine(tmp_path: Path) -> None:
    common = ["--stages", "experiments", "--experiments", "lenet5_mnist", "--scale", "smoke", "--machine", "cpu"]
    tiny = [override for override in TINY_OVERRIDES if override not in ("scale=smoke", "machine=cpu", "tracking=none")]
    longer = {"regularise.num_epochs=1": "regularise.num_epochs=400"}
    overrides = [*(longer.get(override, override) for override in tiny), "machine.checkpoint_every_seconds=0"]
    seconds = campaign.SECONDS_TO_PACK + 12
    first = ["--minutes", str(seconds / 60), "--out", str(tmp_path / "first"), *common, *overrides]
    assert campaign.main(first) == 3
    assert list((tmp_path / "first").glob("state.tar.part*"))
    second = ["--minutes", "5", "--out", str(tmp_path / "second"), "--from", str(tmp_path / "first")]
    assert campaign.main([*second, *common, *overrides]) == 0
    assert json.loads((tmp_path / "second/campaign.json").read_text()) == {"experiment lenet5_mnist": "done"}
    with tarfile.open(tmp_path / "second/summaries.tar.gz") as archive:
        assert any(name.endswith("summary.json") for name in archive.getnames())
