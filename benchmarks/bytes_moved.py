"""What one cell moves to and from a hub and an S3 store, against its model and its checkpoint.

    python -m benchmarks.bytes_moved [--model FOLDER] [--text FILE] [--code FOLDER] [--no-cache]

A hub that serves the model and an S3 API are started here, and count the bytes of each request. One
cell (rank, transfer, prune, evaluate) is run by the driver on a local Ray. ``--code`` is another
checkout whose driver is to run it, to compare with. Knows no stages but by the names of their
folders.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tests import s3_server
from tests.counted_s3 import Request, requests_in
from tests.hub_server import HubServer, served

ASSETS = Path(os.environ.get("TRSP_HOME") or "~/.trsp").expanduser() / "assets"
ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "served/model"
MB = 1e6


def grid(folder: Path, store: str, text: Path) -> Path:
    """Write a grid of one cell: a few steps of every stage."""
    source = {"name": "text", "path": str(text)}
    asked = {
        "models": REPOSITORY,
        "selectors": {"name": "gates", "steps_per_round": 1, "blocks_per_step": 1},
        "ratios": 0.1,
        "gate_l1": 0.005,
        "drift": 0.1,
        "transfer": {"name": "drift", "steps": 2, "blocks_per_step": 1},
        "calibration": {"text": source, "blocks": 8, "block_tokens": 64},
        "evaluation": {"perplexity": [{"text": source, "window_tokens": 64, "max_windows": 4}]},
        "precision": "bf16",
        "engine": {"zero_stage": 0},
        "storage": {"store": store},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "bytes"},
    }
    path = folder / "bytes.yaml"
    path.write_text(yaml.safe_dump(asked))
    return path


def environment(folder: Path, hub: HubServer, code: Path, cached: bool) -> dict[str, str]:
    """Return the environment of a driver that knows the hub and S3, on a node that has nothing."""
    return {
        **os.environ,
        **s3_server.CREDENTIALS,
        "PYTHONPATH": str(code),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "huggingface"),
        "TRSP_HOME": str(folder / "home"),
        "TRSP_CACHE_DIR": str(folder),
        **({} if cached else {"TRSP_CACHE_BYTES": "0"}),
    }


def kind(request: Request) -> str:
    """Return whose the request is: a kind of stage, ``dense``, or the drivers'."""
    parts = request.path.split("/")
    return parts[parts.index("stages") + 1] if "stages" in parts[:-1] else "drivers and lists"


def table(requests: Sequence[Request], hub: HubServer) -> tuple[list[str], float]:
    """Return the lines of a table by kind of stage, and all bytes."""
    amounts: dict[str, Counter[str]] = {}
    for each in requests:
        of = amounts.setdefault(kind(each), Counter())
        what = "weights" if each.path.endswith(".safetensors") else "all else"
        of[f"{what}, written"] += each.written_bytes
        of[f"{what}, read"] += each.read_bytes
        of["requests"] += 1
    names = ("weights, written", "weights, read", "all else, written", "all else, read")
    lines = [f"| MB | {' | '.join(names)} | requests |", "|---" * 6 + "|"]
    for name, of in sorted(amounts.items()):
        figures = " | ".join(f"{of[each] / MB:.2f}" for each in names)
        lines.append(f"| {name} | {figures} | {of['requests']} |")
    from_hub = sum(size_bytes for _, size_bytes in hub.sent)
    lines.append(f"| hub | | {from_hub / MB:.2f} | | | {len(hub.sent)} |")
    moved = from_hub + sum(each.written_bytes + each.read_bytes for each in requests)
    return lines, moved


def checkpoint_bytes(requests: Sequence[Request]) -> int:
    """Return the bytes of the checkpoint that was committed, as they were sent."""
    return sum(
        each.written_bytes
        for each in requests
        if kind(each) == "prune" and each.path.endswith(".safetensors")
    )


def run(options: argparse.Namespace, folder: Path, port: int, hub: HubServer) -> None:
    """Run the cell to its end. SystemExit where it fails."""
    store = f"s3://{s3_server.new_bucket(port)}/store?{s3_server.options(port)}"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", str(grid(folder, store, options.text))],
        cwd=options.code,
        env=environment(folder, hub, options.code, not options.no_cache),
        check=False,
    )
    if done.returncode:
        sys.exit(f"the cell failed: {done.returncode}")


def files_of(model: Path) -> Mapping[str, bytes]:
    """Return a model's files by their names."""
    return {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}


def main() -> None:
    """Print the table, and the bytes moved over those of model and checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ASSETS / "SmolLM2-135M-Instruct")
    parser.add_argument("--text", type=Path, default=ASSETS / "text" / "wiki-train.jsonl")
    parser.add_argument("--code", type=Path, default=ROOT)
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    hub = HubServer()
    hub.push(f"models/{REPOSITORY}", files_of(options.model))
    os.environ.update(s3_server.CREDENTIALS)
    with tempfile.TemporaryDirectory(prefix="trsp-bytes-") as name, served(hub):
        folder = Path(name)
        with s3_server.s3_server(counted=folder / "requests") as port:
            run(options, folder, port, hub)
            requests = requests_in(folder / "requests")
    lines, moved = table(requests, hub)
    model = sum(map(len, files_of(options.model).values()))
    checkpoint = checkpoint_bytes(requests)
    print(*lines, sep="\n")
    print(
        f"model {model / MB:.1f} MB, checkpoint {checkpoint / MB:.1f} MB, {moved / MB:.1f} moved:"
    )
    print(f"{moved / (model + checkpoint):.3f} times model + checkpoint")


if __name__ == "__main__":
    main()
