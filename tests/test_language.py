"""Language models: what they compute, in which order they read, and what starts from them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnnfast.models.config import ModelConfig
from rnnfast.models.language import END, LanguageModel, build_language_model, start_from
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.texts import build_model
from rnnfast.training.checkpoint import Checkpoint
from rnnfast.training.loop import Progress, _optimizer, fit
from rnnfast.training.settings import LoopSettings, TrainingSettings
from rnnfast.training.streams import TextStream

SIZE = 40
CELLS = ("rnn", "gru", "lstm")


def model_of(size: int = SIZE, streams: int = 1, **config: Any) -> LanguageModel:
    sizes = {"embedding_size": 6, "hidden_size": 5, "window": 4, **config}
    return build_language_model(LanguageConfig(**sizes), size, streams=streams)


def ids_of(count: int, size: int = SIZE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, size, count, np.int32))


def without_noise(model: LanguageModel, ids: Tensor, state: Tensor) -> Tensor:
    """The logits of all words, by the definition, in float64."""
    double = build_language_model(model.config, len(model.output.bias)).double().eval()
    weights = {k: v.double() for k, v in model.state_dict().items() if k != "carried"}
    double.load_state_dict(weights, strict=False)
    states, _ = double(ids, state.double())
    return double.output.logits(states, double.embedding.weight)


@pytest.mark.parametrize("cell", CELLS)
def test_the_exact_loss_is_the_cross_entropy_of_the_next_words(cell: str) -> None:
    model = model_of(cell=cell, num_layers=2).eval()
    ids, state = ids_of(3 * 8).view(3, 8), model.start_state(3)
    logits = without_noise(model, ids[:, :-1], state)
    expected = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten().long(), reduction="sum")
    first, between = model.exact_loss(ids[:, :5], state)
    second, _ = model.exact_loss(ids[:, 4:], between)
    assert first + second == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_training_goes_on_where_the_streams_were(cell: str) -> None:
    quiet = dict.fromkeys(("dropout", "channel_dropout", "recurrent_dropout"), 0.0)
    model = model_of(cell=cell, streams=3, candidates=SIZE, **quiet)
    ids, streams = ids_of(2 * 9).view(2, 9), torch.tensor([0, 2])
    logits = without_noise(model, ids[:, :-1], model.start_state(2))
    for start in (0, 4):
        loss = model.loss(ids[:, start : start + 5], streams, seed=0)
        expected = F.cross_entropy(
            logits[:, start : start + 4].flatten(0, 1),
            ids[:, start + 1 : start + 5].flatten().long(),
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.carried[0].any()
    assert not model.carried[1].any()


def test_every_epoch_reads_every_window_once_and_streams_go_on() -> None:
    stream = TextStream(ids_of(103), 5)
    generator = torch.Generator().manual_seed(1)
    firsts = set()
    for _ in range(3):
        batches = list(stream.batches(6, generator))
        assert [len(each) for each in batches] == [6, 6, 6, 2]
        read = torch.cat([stream.taken(rows)[0][:, :-1] for rows in batches])
        starts = torch.cat(batches)
        first = int(batches[0][0])
        firsts.add(first)
        assert sorted(((starts - first) % 103).tolist()) == list(range(0, 100, 5))
        assert torch.equal(read[0], stream.ids[(first + torch.arange(5)) % 103])
        for before, after in pairwise(batches):
            assert torch.equal((before[: len(after)] + 5) % 103, after)
    assert len(firsts) > 1


def test_texts_are_measured_whatever_the_workers_share() -> None:
    model, stream = model_of().eval(), TextStream(ids_of(900), 4)
    alone = stream.measure(model)["loss"]
    assert 0 < alone < 10

    class Half:
        """One of two workers, which hears of no other."""

        def __init__(self, rank: int) -> None:
            self.rank, self.count = rank, 2

        def add_up(self, *values: float) -> list[float]:
            return list(values)

    shares = [stream.measure(model, Half(rank))["loss"] for rank in range(2)]  # type: ignore[arg-type]
    assert sum(shares) == pytest.approx(alone, rel=1e-5)


def test_a_model_learns_what_comes_next() -> None:
    ids = torch.tensor([2, 3, 4, 5, END] * 400, dtype=torch.int32)
    model = model_of(6, streams=4, hidden_size=8)
    settings = LoopSettings(epochs=8, batch_size=4, learning_rate=0.05)
    history = fit(model, TextStream(ids, 10), TextStream(ids[:100], 10), settings)
    assert history[-1]["validation_loss"] < 0.05
    assert model.sample(2, 9) == [[2, 3, 4, 5]] * 2


def test_interrupted_it_goes_on_with_the_same_weights(tmp_path: Path) -> None:
    def trained(checkpoint: Checkpoint | None = None, stop: int = 0) -> dict[str, Tensor]:
        steps = 0

        def show(_: Progress) -> None:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise InterruptedError

        model = model_of(streams=3, candidates=10)
        settings = LoopSettings(epochs=2, batch_size=3)
        fit(
            model, TextStream(ids_of(210), 4), TextStream(ids_of(60), 4), settings, show, checkpoint
        )
        return model.state_dict()

    torch.set_num_threads(1)
    expected = trained()
    checkpoint = Checkpoint(tmp_path / "checkpoint", "this", 0)
    for steps in (5, 20):
        with pytest.raises(InterruptedError):
            trained(checkpoint, steps)
    found = trained(checkpoint)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_classifier_starts_from_its_vectors_and_layers(cell: str, wide: bool) -> None:
    sizes: dict[str, Any] = {"embedding_size": 6, "hidden_size": 5, "num_layers": 2, "cell": cell}
    language = model_of(**sizes)
    classifier = build_model(ModelConfig(wide=wide, max_pairs=9, **sizes), SIZE)
    start_from(classifier, language.state_dict())
    deep: Any = classifier.deep if wide else classifier
    for name, value in language.rnn.state_dict().items():
        assert torch.equal(deep.rnn.state_dict()[name], value)
    vectors = deep.embedding.weight
    assert not vectors[END].any()
    assert torch.equal(vectors[2:], language.embedding.weight[2:])


@pytest.mark.parametrize("change", [{"hidden_size": 7}, {"num_layers": 1}, {"embedding_size": 7}])
def test_a_classifier_of_other_sizes_does_not_start(change: dict[str, int]) -> None:
    sizes: dict[str, Any] = {"embedding_size": 6, "hidden_size": 5, "num_layers": 2, "cell": "gru"}
    classifier = build_model(ModelConfig(**sizes | change), SIZE)
    with pytest.raises(ValueError, match=r"must have the shape"):
        start_from(classifier, model_of(**sizes).state_dict())


def test_layers_learn_one_after_the_other_each_at_its_own_rate() -> None:
    model = build_model(ModelConfig(cell="gru", num_layers=2), SIZE)
    settings = TrainingSettings(layer_decay=0.5, unfreeze="gradually", learning_rate=0.08)
    found = {}
    for group in _optimizer(model, settings).param_groups:
        for name, parameter in model.named_parameters():
            if any(parameter is each for each in group["params"]):
                found[name] = group["initial_lr"], group["from_epoch"]
    assert found["head.weight"] == (0.08, 0)
    assert found["rnn.weight_hh_l1"] == (0.04, 1)
    assert found["rnn.weight_hh_l0"] == (0.02, 2)
    assert found["embedding.weight"] == (settings.vector_learning_rate / 8, 3)
    assert found.keys() == dict(model.named_parameters()).keys()
