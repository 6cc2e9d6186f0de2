import dataclasses
from pathlib import Path

import pytest

from ndtool.errors import NdtoolError
from ndtool.train.choices import CHOICES
from ndtool.train.config import TrainConfig, differences
from ndtool.train.data import Normalisation
from ndtool.train.methods import METHODS
from ndtool.train.models import ModelSpec

PLAIN = TrainConfig(model=ModelSpec(name="resnet8", input_shape=(3, 32, 32), classes=10), data="digits")
FULL = dataclasses.replace(
    PLAIN,
    model=ModelSpec(
        name="a.py:b", input_shape=(640,), classes=0, arguments={"width": 0.5, "depth": 2, "act": "relu", "se": True}
    ),
    task="reconstruction",
    lr=0.25,
    weight_decay=0.0,
    augment="none",
    normalisation=Normalisation(mean=(0.5,), std=(0.25,)),
)


@pytest.mark.parametrize("config", [PLAIN, FULL, dataclasses.replace(FULL, augment="auto", clip=0.0, amp=False)])
def test_settings_survive_toml(config):
    again = TrainConfig.from_toml(config.to_toml())
    assert again == config
    assert [type(v) for v in again.model.arguments.values()] == [type(v) for v in config.model.arguments.values()]


def test_whole_numbers_serve_as_floats():
    config = TrainConfig.from_dict({"model": PLAIN.to_dict()["model"], "data": "digits", "lr": 1})
    assert isinstance(config.lr, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1.0}, "unknown training setting lerning_rate"),
        ({"epoch": 3}, "did you mean epochs"),
        ({"epochs": 3.5}, "epochs = 3.5 is of the wrong type: give a value of type int"),
        ({"epochs": True}, "epochs = True is of the wrong type"),
        ({"epochs": 0}, "epochs = 0 is out of range"),
        (
            {"method": "netdistiler"},
            "method = 'netdistiler' is unknown: choose from netdistiller, inplace, netaug, kd, vanilla",
        ),
        ({"model": {"name": "resnet8"}}, "model.input_shape is missing"),
        ({"model": "resnet8"}, "model = 'resnet8' is of the wrong type"),
        ({"lr": float("nan")}, "lr = nan is out of range"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(NdtoolError, match=message):
        TrainConfig.from_dict({**PLAIN.to_dict(), **values})


def test_text_that_is_no_toml_is_refused():
    with pytest.raises(NdtoolError, match="not valid TOML"):
        TrainConfig.from_toml("= 3")


def test_the_optimiser_decides_the_rates_that_are_not_given():
    def rates(config):
        return config.learning_rate(normalised=True), config.learning_rate(normalised=False), config.decay

    assert rates(PLAIN) == (0.4, 0.1, 5e-4)
    assert rates(dataclasses.replace(PLAIN, init="run")) == (0.1, 0.1, 5e-4)
    assert rates(dataclasses.replace(PLAIN, optimizer="adamw")) == (3e-3, 3e-3, 0.01)
    assert rates(FULL) == (0.25, 0.25, 0.0)


def test_differences_are_named():
    other = dataclasses.replace(
        PLAIN, model=dataclasses.replace(PLAIN.model, arguments={"width": 2.0}), lr=0.5, device="cpu", log_every=1
    )
    assert differences(PLAIN, other) == ["lr: default -> 0.5", "model.arguments.width: default -> 2.0"]
    assert differences(PLAIN, dataclasses.replace(PLAIN, device="cpu")) == []


def test_every_method_can_be_chosen():
    assert tuple(METHODS) == CHOICES["method"]


def test_the_settings_are_plain(tmp_path: Path):
    (tmp_path / "config.toml").write_text(FULL.to_toml())
    assert "[normalisation]" in (tmp_path / "config.toml").read_text()
