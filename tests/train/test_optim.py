import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ndtool.train.optim import MovingAverage, lr_at, make_optimizer


def test_warm_up_is_linear_and_the_cosine_follows():
    rates = [lr_at(step, steps=100, base=0.4, warmup=0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([0.04 * k for k in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[55] == pytest.approx(0.2)
    assert rates[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[25] == pytest.approx(0.2 * (1 + math.cos(math.pi * 15 / 90)))


def test_a_schedule_may_be_all_or_no_warm_up():
    assert lr_at(0, steps=4, base=1.0, warmup=0.0) == 1.0
    assert lr_at(3, steps=4, base=1.0, warmup=1.0) == 1.0
    assert lr_at(0, steps=1, base=1.0, warmup=0.05) == 1.0


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_biases_and_batchnorm_are_not_decayed(name, kind):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = make_optimizer(name, model.parameters(), lr=0.1, weight_decay=0.5, momentum=0.9)
    assert isinstance(optimizer, kind)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.5,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": 0.5,
        "3.bias": 0.0,
    }


def test_the_average_follows_with_a_decay_that_grows():
    live = {"w": torch.tensor([1.0]), "count": torch.tensor(0)}
    average = MovingAverage(live, decay=0.5)
    live["w"].fill_(2.0)
    live["count"].fill_(7)
    average.update()  # decay 2 / 11
    with average.applied():
        assert live["w"].item() == pytest.approx(1 * 2 / 11 + 2 * 9 / 11)
        assert live["count"].item() == 7
    assert live["w"].item() == 2.0
    for _ in range(30):
        average.update()
    live["w"].fill_(4.0)
    average.update()  # decay 0.5 by now
    with average.applied():
        assert live["w"].item() == pytest.approx(3.0, abs=1e-3)


def test_an_average_continues_from_its_state():
    live = {"w": torch.randn(3)}
    one, other = MovingAverage(live, decay=0.9), MovingAverage({"w": live["w"]}, decay=0.9)
    live["w"].add_(1)
    one.update()
    other.load_state_dict(one.state_dict())
    live["w"].add_(1)
    one.update()
    other.update()
    assert torch.equal(one.state_dict()["average"]["w"], other.state_dict()["average"]["w"])
    assert other.state_dict()["updates"] == 2
