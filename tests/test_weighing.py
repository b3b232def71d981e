"""How the parts of a model are weighed, and whether the second adds anything."""

import numpy as np
import pytest
import torch

from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import PAIR, WideAndDeep, build_model
from rnnfast.training.rows import Reviews
from rnnfast.training.weighing import compared, part_outputs, weigh

NOISE = np.random.default_rng(0)
LABELS = NOISE.integers(0, 2, 400)
SAYS_MUCH = 2 * (2 * LABELS - 1) + NOISE.normal(size=400) * 2
SAYS_SOME = (2 * LABELS - 1) + NOISE.normal(size=400) * 2
SAYS_NOTHING = NOISE.normal(size=400)


def parts(wide: np.ndarray, deep: np.ndarray) -> np.ndarray:
    return np.stack([wide, deep], 1)[:, :, None]


def test_two_parts_that_know_different_things_are_better_together() -> None:
    found = compared(parts(SAYS_SOME, SAYS_MUCH), LABELS, PAIR)
    assert found["loss"] < found["wide_loss"]
    assert found["gain"] > 3
    assert found["accuracy"] > found["wide_accuracy"] > 0.6


def test_a_part_that_knows_nothing_is_no_gain() -> None:
    noise = [np.random.default_rng(seed).normal(size=400) for seed in range(30)]
    gains = [compared(parts(SAYS_MUCH, each), LABELS, PAIR)["gain"] for each in noise]
    assert np.mean(gains) < 0
    assert np.mean(np.array(gains) > 2) < 0.1


def test_the_scale_of_logits_makes_no_difference() -> None:
    found = compared(parts(SAYS_MUCH, SAYS_SOME), LABELS, PAIR)
    for scale in (1e-3, 1e3):
        assert compared(parts(SAYS_MUCH, scale * SAYS_SOME), LABELS, PAIR) == pytest.approx(found)


def test_better_calibration_is_no_gain() -> None:
    found = compared(parts(0.01 * SAYS_MUCH, SAYS_MUCH), LABELS, PAIR)
    assert abs(found["loss"] - found["wide_loss"]) < 0.005


def model_and_rows() -> tuple[WideAndDeep, Reviews]:
    sizes = {"embedding_size": 4, "hidden_size": 5, "sequence_length": 9, "max_pairs": 5}
    model = build_model(ModelConfig.model_validate(sizes | {"wide": True}), 10)
    assert isinstance(model, WideAndDeep)
    model.wide.scale.fill_(1)
    model.wide.weight.copy_(torch.linspace(-3, 3, 15))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (300,), generator=generator)
    ids = torch.randint(2, 10, (int(lengths.sum()),), generator=generator, dtype=torch.int32)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return model, Reviews(ids, offsets, torch.randint(0, 2, (300,), generator=generator))


def test_logits_are_in_the_order_of_the_rows() -> None:
    model, rows = model_and_rows()
    found = part_outputs(model, rows)
    for row in (0, 17, 299):
        ids, lengths = rows.take(torch.tensor([row]))
        with torch.no_grad():
            expected = [model.wide(ids, lengths).item(), model.deep(ids, lengths).item()]
        assert found[row, :, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_shares_are_never_negative() -> None:
    model, rows = model_and_rows()
    # Labels that the wide part gets wrong, and the deep part says nothing of.
    logits = part_outputs(model, rows)[:, 0, 0]
    wrong = Reviews(rows.ids, rows.offsets, torch.from_numpy((logits < 0).astype(np.int64)))
    weigh(model, wrong)
    assert model.shares[0] == 0
    assert model.shares[1] >= 0
    right = Reviews(rows.ids, rows.offsets, torch.from_numpy((logits > 0).astype(np.int64)))
    weigh(model, right)
    assert model.shares[0] > 0
    assert right.measure(model)["accuracy"] > 0.95


def test_one_label_only_leaves_equal_shares() -> None:
    model, rows = model_and_rows()
    weigh(model, Reviews(rows.ids, rows.offsets, torch.ones(300, dtype=torch.int64)))
    assert model.shares.tolist() == [0.5, 0.5, 0.0]
