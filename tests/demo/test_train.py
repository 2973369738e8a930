import json

import numpy as np
import pytest
import torch

from deepbase.demo import train
from deepbase.demo.model import PAD, SqlLSTM

SMALL = {"queries": 70, "held_out": 20, "epochs": 1, "width": 8, "layers": 1}


def test_a_seed_gives_the_same_weights_again(tmp_path):
    weights = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        train.run(seed=5, folder=folder, **SMALL)
        weights.append((folder / "sql_lstm.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_command_writes_weights_and_prints_the_figures_that_it_records(tmp_path, capsys):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    threads = torch.get_num_threads()
    train.main([*options, "--folder", str(tmp_path), f"--threads={threads}"])
    recorded = (tmp_path / "sql_lstm.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out.endswith(recorded)
    assert json.loads(recorded)["train_queries"] == 70
    assert 0 <= json.loads(recorded)["held_out_accuracy"] <= 1


def test_an_epoch_has_every_sequence_once():
    sequences = [torch.full((2 + i % 7,), i) for i in range(train.BATCH * 3 + 5)]
    batches = list(train.epoch_batches(sequences, np.random.default_rng(0)))
    assert sorted(int(row[0]) for batch in batches for row in batch) == list(range(len(sequences)))
    assert all(len(batch) <= train.BATCH for batch in batches)


def test_figures_count_the_end_of_a_query_but_not_the_filling():
    network = SqlLSTM(4, width=3, layers=1)
    with torch.no_grad():
        network.decoder.weight.zero_()
        network.decoder.bias.copy_(torch.tensor([5.0, 0.0, 0.0, 0.0]))
    figures = train.evaluate(network, [torch.tensor([2, 3, PAD]), torch.tensor([3, PAD])])
    assert figures.predictions == 3
    assert figures.accuracy == pytest.approx(2 / 3)
    miss, hit = 5 + np.log1p(3 * np.exp(-5)), np.log1p(3 * np.exp(-5))
    assert figures.loss == pytest.approx((miss + 2 * hit) / 3, abs=1e-6)
