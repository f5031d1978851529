"""Fuzz one target with atheris, from the stored corpus.

    python -m fuzz.run head|frames|envelopes [--seconds=N] [options of libFuzzer]

New inputs go into a folder that ends with the run, unless --keep names one. A failure leaves its input in
the present folder, as libFuzzer does, and its exit status is not 0.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

CORPUS = Path(__file__).resolve().parent / "corpus"


def main(arguments: Sequence[str]) -> None:
    """Fuzz; ends the process."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("target", choices=("head", "frames", "envelopes"))
    parser.add_argument("--seconds", type=int, default=30, help="for how long; 0: until interrupted")
    parser.add_argument("--keep", help="a folder for new inputs")
    options, others = parser.parse_known_args(arguments)
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError as error:
        raise SystemExit(f"fuzzing needs atheris: pip install '.[fuzz]' ({error})") from None
    # What is imported in here reports which branches it takes, and nothing that was imported before.
    with atheris.instrument_imports(include=["wsecho", "autobahn.websocket"]):
        targets = importlib.import_module("fuzz.targets")
    target = targets.TARGETS[options.target]
    with tempfile.TemporaryDirectory() as new:
        command = [sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=4096", "-timeout=20", *others]
        command += [options.keep or new, str(CORPUS / options.target)]
        atheris.Setup(command, target)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
