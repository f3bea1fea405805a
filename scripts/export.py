"""Hand on the pruned network of a finished run: python scripts/export.py results/runs/<...>/seed0 --to DIRECTORY.

Writes `sparse.safetensors`, the kept weights and a bit mask, which `sparsity.weights.export.load_sparse` reads back;
for one of transformers' networks also a folder that `from_pretrained` loads, with the run's tokenizer. Prints the size
of all. --compact adds `compact.safetensors`: a smaller dense network with the same function, without the units that do
nothing; `sparsity.weights.compaction.resize` gives a new network its widths and weights. --format onnx adds
`network.onnx`, and with --compact `compact.onnx`: files of any batch size that run without torch, each held against the
network in torch before it is written. Without --to: the networks and the card that a run leaves in its own folder, for
a run of earlier code.
"""

import argparse
import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sparsity import command_line, config, provenance
from sparsity.data.sizes import image_shape
from sparsity.files import run_script, visible
from sparsity.records import NETWORKS
from sparsity.report.reading import load_summary
from sparsity.settings import Settings

if TYPE_CHECKING:
    from torch import nn  # only once there is work

TOKENIZER = "tokenizer.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, which holds config.yaml and checkpoints/")
    parser.add_argument("--to", type=Path, help="the directory to write, new or empty")
    parser.add_argument("--checkpoint", default="finetune/last/best", help="which kept network (default: %(default)s)")
    parser.add_argument("--compact", action="store_true", help="with --to: also a smaller dense network")
    parser.add_argument("--format", choices=("onnx",), help="with --to: also in this format (needs the extra `onnx`)")
    command_line.add_trust(parser)
    given = parser.parse_args(arguments)
    if given.to is None and (given.compact or given.format):
        parser.error("--compact and --format say what is written besides: add --to DIRECTORY.")
    try:
        settings = config.from_run(given.run, given.trust)
        if given.to is None:
            written = leave(given.run, settings)
        else:
            written = export(given.run, settings, given.checkpoint, given.to, given.compact, given.format == "onnx")
        for path in sorted(path for path in written.rglob("*") if path.is_file()):
            print(f"{path.stat().st_size:>13,} bytes  {path.relative_to(written)}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def leave(run: Path, settings: Settings) -> Path:
    """The folder with the network of each row of a finished run of these settings, written anew.

    Raises:
        ValueError: if it is not finished or a checkpoint is missing.
    """
    summary = load_summary(run)
    from sparsity.run.networks import leave_networks

    leave_networks(run, summary, config.build(settings).build_model, image_shape(settings.dataset))
    return run / NETWORKS


def export(
    run: Path,
    settings: Settings,
    checkpoint: str,
    directory: Path,
    is_compacted: bool = False,
    is_onnx: bool = False,
) -> Path:
    """The directory, with all forms of a kept network of a run of these settings; where one fails, with none of them.

    Raises:
        ValueError: if there is no such checkpoint, the directory holds files, or a network cannot be compacted or
            written as an ONNX file.
    """
    if directory.exists() and visible(directory.iterdir(), directory):
        raise ValueError(f"{directory} is not empty; name a new directory.")
    from sparsity.weights.checkpoints import kept_networks, load_kept
    from sparsity.weights.onnx_files import check_extra

    if is_onnx:
        check_extra()
    kept = kept_networks(run)
    if checkpoint not in kept:
        raise ValueError(f"{run} has kept no network {checkpoint}; --checkpoint may be {', '.join(kept)}.")
    model = config.build(settings).build_model()
    model.load_state_dict(load_kept(kept[checkpoint], model, run / provenance.CONFIG)["weights"])
    networks = {"network": model} | ({"compact": compacted(model)} if is_compacted else {})
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent, prefix=".") as folder:  # a directory in part would bar the next try
        write(Path(folder), networks, run / TOKENIZER)
        if is_onnx:
            write_onnx(Path(folder), networks, image_shape(settings.dataset))
        directory.mkdir(exist_ok=True)
        for path in Path(folder).iterdir():
            path.rename(directory / path.name)
    return directory


def write(directory: Path, networks: "Mapping[str, nn.Module]", tokenizer: Path) -> None:
    """Write the files that torch and transformers read."""
    from sparsity.weights.export import save_huggingface, save_sparse

    model = networks["network"]
    save_sparse(directory / "sparse.safetensors", model.state_dict())
    if hasattr(model, "save_pretrained"):
        save_huggingface(directory / "huggingface", model, tokenizer if tokenizer.is_file() else None)
    if "compact" in networks:
        save_sparse(directory / "compact.safetensors", networks["compact"].state_dict())


def compacted(model: "nn.Module") -> "nn.Module":
    """A smaller dense network with the function of this one; says how much smaller."""
    from sparsity.weights.compaction import compact

    smaller = copy.deepcopy(model)
    compact(smaller)
    left, total = (sum(weight.numel() for weight in network.parameters()) for network in (smaller, model))
    print(f"compacted: {left:,} of {total:,} weights in a smaller dense network")
    return smaller


def write_onnx(directory: Path, networks: "Mapping[str, nn.Module]", shape: tuple[int, ...] | None) -> None:
    """Write each network as `<its name>.onnx`, all held against the first, and say how far they are from it."""
    from sparsity.weights.onnx_files import NUM_COMPARED, save_onnx

    like = next(iter(networks.values()))
    for name, network in networks.items():
        largest = save_onnx(directory / f"{name}.onnx", network, shape, like)
        print(f"{name}.onnx: scores of {NUM_COMPARED} drawn inputs differ from torch's by at most {largest:.1e}")


if __name__ == "__main__":
    run_script(main)
