"""A model and texts that cost nothing, and two ways to run a command."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import click.testing
import pytest

MODEL = '''
import os
import time

import torch
from torch import nn

import deepbase


class Net(nn.Module):
    """A table and a mixture of it; NAP seconds for every forward longer than a trial, told in a file NAPPING."""

    def __init__(self, width=4):
        super().__init__()
        self.embed = nn.Embedding(128, width)
        self.mix = nn.Linear(width, 3)

    def forward(self, ids):
        if ids.shape[1] >= 20:
            if "NAPPING" in os.environ:
                open(os.environ["NAPPING"], "w").close()
            time.sleep(float(os.environ.get("NAP", "0")))
        return self.mix(self.embed(ids))


def by_character(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]


def by_thousand(text):
    return [(min(ord(text[i]), 127), i, min(i + 1000, len(text))) for i in range(0, len(text), 1000)]


def net():
    torch.manual_seed(0)
    return deepbase.Model(Net(), by_character)


def wide():
    torch.manual_seed(0)
    return deepbase.Model(Net(8), by_character)


def slow():
    torch.manual_seed(0)
    return deepbase.Model(Net(), by_thousand)
'''

TEXTS = [
    "the cat sat on the mat",
    "a dog ran far away",
    "Is it 7 or 8?",
    "no, never (again)",
    "x",
    "one two three four",
]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A file whose functions `net`, `wide` and `slow` give models."""
    file = tmp_path_factory.mktemp("model") / "tiny.py"
    file.write_text(MODEL)
    return file


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "lines.txt"
    file.write_text("\n".join(TEXTS) + "\n")
    return file


@pytest.fixture(scope="session")
def long_texts(tmp_path_factory):
    """Records that are so long that a block holds six of them: seven blocks, of 20 symbols a record for `slow`."""
    file = tmp_path_factory.mktemp("texts") / "long.txt"
    letters = "abcdefghijklmnopqrstuvwxyz "
    pieces = (letters[i * i * 7 % 27] + "." * 999 for i in range(40 * 20))
    file.write_text("\n".join("".join(next(pieces) for _ in range(20)) for _ in range(40)) + "\n")
    return file


@pytest.fixture
def write(tmp_path):
    """`write(name, text)`: a file of this test's own."""

    def make(name, text):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return file

    return make


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """`cli(*arguments)`: run a command in this process, in a directory of the test's own."""
    from deepbase.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPBASE_DB", raising=False)

    def run(*arguments, input=None):
        return click.testing.CliRunner().invoke(main, [str(a) for a in arguments], input=input)

    return run


@pytest.fixture
def start(tmp_path):
    """`start(*arguments, **environment)`: run a command in a process of its own, which is ended with the test."""
    running = []

    def run(*arguments, **environment):
        command = [sys.executable, "-c", "from deepbase.cli import main; main()", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in environment.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()
