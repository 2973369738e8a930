"""Train the network of the demo again: `python -m deepbase.demo.train`.

Queries are sampled from the grammar with one seed for training and another for the held-out figures; a held-out query
that is also a training query is left out. The loss is the cross entropy of the next character, and of `PAD` at the end
of a query. As the grammar knows the probability of every query that it makes, the loss that no network can beat is
known too: it is printed and recorded beside the one that was reached, in nats per character. (This holds because the
grammar is unambiguous: it makes no query in two ways.)

The same seed and options on the same machine give the same weights; other machines and torch versions round
differently. A few minutes on two cores; memory grows with the number of training queries, by their text only.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from deepbase.demo.grammar import LONGEST, SHORTEST, derivations, derive, sql_grammar
from deepbase.demo.model import PAD, UNKNOWN, WEIGHTS, Metadata, SqlLSTM, tokenizer

BATCH = 64
BUCKET = 50
"""How many batches are sorted by length together, so that sequences of a batch need little padding."""


@dataclass(frozen=True)
class Figures:
    """How well characters are predicted, from the second one of a query to its end.

    Attributes:
        accuracy: the share of predictions whose most probable character is the right one.
        loss: the cross entropy, in nats per prediction.
        predictions: how many there were.
    """

    accuracy: float
    loss: float
    predictions: int


def encode(texts: Sequence[str], vocabulary: str) -> list[torch.Tensor]:
    """The ids of texts and, as the last one of each, `PAD`: int64[position]."""
    tokenize = tokenizer(vocabulary)
    return [torch.tensor([*(token for token, _, _ in tokenize(text)), PAD]) for text in texts]


def epoch_batches(sequences: Sequence[torch.Tensor], rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """All sequences once, in random order, as int64[sequence, position] filled up with -1."""
    order = rng.permutation(len(sequences))
    for bucket in np.array_split(order, max(1, len(order) // (BATCH * BUCKET))):
        by_length = sorted(bucket.tolist(), key=lambda i: len(sequences[i]))
        chunks = [by_length[i : i + BATCH] for i in range(0, len(by_length), BATCH)]
        for i in rng.permutation(len(chunks)):
            yield pad_sequence([sequences[j] for j in chunks[i]], batch_first=True, padding_value=-1)


def predict(network: SqlLSTM, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float32[prediction, character] and their targets int64[prediction], without the filling."""
    targets = batch[:, 1:]
    there = targets >= 0
    return network(batch[:, :-1].clamp(min=PAD))[there], targets[there]


def train(sequences: Sequence[torch.Tensor], characters: int, seed: int, epochs: int, **sizes: int) -> SqlLSTM:
    """Train a network: Adam, one cycle of the learning rate, gradients clipped at norm 1.

    Args:
        sequences: int64[position] each, as `encode` gives them.
        characters: how many ids there are.
        seed: of the first weights and of the order of the sequences.
        epochs: how often to go through the sequences.
        sizes: those of `SqlLSTM`.
    """
    torch.manual_seed(seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    network = SqlLSTM(characters, **sizes)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    steps = sum(1 for _ in epoch_batches(sequences, np.random.Generator(np.random.PCG64(seed)))) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps, pct_start=0.1)
    step, recent = 0, 0.0
    for _ in range(epochs):
        for batch in epoch_batches(sequences, rng):
            loss = nn.functional.cross_entropy(*predict(network, batch))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
            if step % 250 == 0 or step == steps:
                print(f"step {step} of {steps}: loss {recent:.4f} nats per character", flush=True)
    return network.eval()


@torch.inference_mode()
def evaluate(network: SqlLSTM, sequences: Sequence[torch.Tensor]) -> Figures:
    """Measure a network on sequences, as `encode` gives them."""
    right, loss, predictions = 0, 0.0, 0
    for batch in epoch_batches(sequences, np.random.Generator(np.random.PCG64(0))):
        logits, targets = predict(network, batch)
        right += int((logits.argmax(dim=1) == targets).sum())
        loss += nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        predictions += len(targets)
    return Figures(right / predictions, loss / predictions, predictions)


def acceptance(seed: int, tries: int = 5_000) -> float:
    """The share of the grammar's queries that are neither too short nor too long, by sampling."""
    rng = np.random.Generator(np.random.PCG64(seed))
    lengths = np.array([len(derive(sql_grammar(), rng).text) for _ in range(tries)])
    return float(((lengths >= SHORTEST) & (lengths <= LONGEST)).mean())


def save(network: SqlLSTM, metadata: Metadata, folder: Path) -> None:
    """Write the weights with their metadata; the same ones give the same bytes."""
    from safetensors.torch import save as packed

    (folder / WEIGHTS).write_bytes(packed(network.state_dict(), {"about": json.dumps(metadata)}))


def run(seed: int, queries: int, held_out: int, epochs: int, folder: Path, **sizes: int) -> dict[str, object]:
    """Train a network of these sizes, measure it, write it to a folder, and return what was recorded of it."""
    vocabulary = sql_grammar().characters
    started = time.monotonic()
    texts = [found.text for found in islice(derivations(seed), queries)]
    network = train(encode(texts, vocabulary), len(vocabulary) + UNKNOWN + 1, seed, epochs, **sizes)
    seconds = time.monotonic() - started

    known = set(texts)
    fresh = list(islice((d for d in derivations(seed + 1) if d.text not in known), held_out))
    figures = evaluate(network, encode([d.text for d in fresh], vocabulary))
    accuracy = round(figures.accuracy, 4)
    floor = len(fresh) * math.log(acceptance(seed)) - sum(d.log_probability for d in fresh)
    about = {
        "seed": seed,
        "train_queries": queries,
        "epochs": epochs,
        **sizes,
        "characters": sum(map(len, texts)),
        "held_out_queries": len(fresh),
        "held_out_accuracy": accuracy,
        "held_out_loss": round(figures.loss, 4),
        "held_out_predictions": figures.predictions,
        "grammar_loss": round(floor / figures.predictions, 4),
        "seconds": round(seconds),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": version("numpy")},
    }
    save(network, Metadata(seed=seed, accuracy=accuracy, vocabulary=vocabulary, sizes=sizes), folder)
    (folder / WEIGHTS).with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return about


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the network of the demo and write its weights and figures."""
    parser = argparse.ArgumentParser(
        prog="python -m deepbase.demo.train",
        description=main.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the weights and the training queries")
    parser.add_argument("--queries", type=int, default=150_000, help="how many queries to train on")
    parser.add_argument("--held-out", type=int, default=5_000, help="how many queries to measure on")
    parser.add_argument("--epochs", type=int, default=3, help="how often to go through them")
    parser.add_argument("--width", type=int, default=128, help="cells in an LSTM layer")
    parser.add_argument("--layers", type=int, default=2, help="LSTM layers")
    parser.add_argument("--threads", type=int, default=2, help="threads that torch may use")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where to write to")
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(options.pop("threads"))
    print(json.dumps(run(**options), indent=2))


if __name__ == "__main__":
    main()
