"""Hand on the pruned network of a finished run: python scripts/export.py results/runs/<...>/seed0 --to DIRECTORY.

Writes `sparse.safetensors`, the kept weights and a bit mask, which `sparsity.weights.export.load_sparse` reads back;
for one of transformers' networks also a folder that `from_pretrained` loads, with the run's tokenizer. Prints the size
of all. --compact adds `compact.safetensors`: a smaller dense network with the same function, without the units that do
nothing; `sparsity.weights.compaction.resize` gives a new network its widths and weights. Without --to: the networks and
the card that a run leaves in its own folder, for a run of earlier code.
"""

import argparse
import sys
from pathlib import Path

from sparsity import command_line, config
from sparsity.data.sizes import image_shape
from sparsity.files import run_script, visible
from sparsity.records import NETWORKS
from sparsity.report.reading import load_summary
from sparsity.settings import Settings

TOKENIZER = "tokenizer.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory, which holds config.yaml and checkpoints/")
    parser.add_argument("--to", type=Path, help="the directory to write, new or empty")
    parser.add_argument("--checkpoint", default="finetune/last/best", help="which kept network (default: %(default)s)")
    parser.add_argument("--compact", action="store_true", help="with --to: also a smaller dense network")
    command_line.add_trust(parser)
    given = parser.parse_args(arguments)
    try:
        settings = config.from_run(given.run, given.trust)
        if given.to is None:
            written = leave(given.run, settings)
        else:
            written = export(given.run, settings, given.checkpoint, given.to, given.compact)
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


def export(run: Path, settings: Settings, checkpoint: str, directory: Path, is_compacted: bool = False) -> Path:
    """The directory, with all forms of a kept network of a run of these settings.

    Raises:
        ValueError: if there is no such checkpoint, the directory holds files, or a network cannot be compacted.
    """
    if directory.exists() and visible(directory.iterdir(), directory):
        raise ValueError(f"{directory} is not empty; name a new directory.")
    from sparsity.weights.checkpoints import load_kept
    from sparsity.weights.export import save_huggingface, save_sparse

    model = config.build(settings).build_model()
    model.load_state_dict(load_kept(run / "checkpoints" / f"{checkpoint}.pt", model)["weights"])
    save_sparse(directory / "sparse.safetensors", model.state_dict())
    if hasattr(model, "save_pretrained"):
        tokenizer = run / TOKENIZER
        save_huggingface(directory / "huggingface", model, tokenizer if tokenizer.is_file() else None)
    if is_compacted:
        from sparsity.weights.compaction import compact

        total = sum(weight.numel() for weight in model.parameters())
        compact(model)
        left = sum(weight.numel() for weight in model.parameters())
        print(f"compacted: {left:,} of {total:,} weights in a smaller dense network")
        save_sparse(directory / "compact.safetensors", model.state_dict())
    return directory


if __name__ == "__main__":
    run_script(main)
