"""Recipes: each is one that the train command takes, of the size it says; near names are suggested."""

import re

import click
import pytest

from ndtool.cli import cli
from ndtool.errors import NdtoolError
from ndtool.train.config import TrainConfig
from ndtool.train.data import augmentation
from ndtool.train.data.torchvision_sets import SETS
from ndtool.train.models import ModelSpec, build
from ndtool.train.parse import parse_arguments, parse_shape
from ndtool.train.recipe import load_recipe, recipe_names
from ndtool.train.zoo import count

CLASSES = {"imagenet": 1000, "cifar10": 10}


def test_there_are_recipes_for_imagenet_cifar10_and_transfer():
    names = recipe_names()
    assert {f"imagenet/{n}" for n in ("mobilenetv2-tiny", "mcunet", "proxylessnas", "mobilenetv2", "mobilenetv3")} <= {
        *names
    }
    assert {"cifar10/resnet8", "cifar10/mobilenetv2-micro"} <= {*names}
    assert {f"transfer/{n}" for n in ("cifar100", "flowers102", "stanfordcars", "oxfordiiitpet", "food101")} <= {*names}


@pytest.mark.parametrize("name", recipe_names())
def test_every_setting_is_a_flag_with_a_value_it_takes(name):
    recipe = load_recipe(name)
    command = cli.commands["train"]
    context = command.make_context("train", ["--recipe", name, "--data", "x", "--init", "y"])
    flags = {option.opts[0].removeprefix("--") for option in command.params}
    assert recipe.settings.keys() <= flags
    for option in command.params:
        key = option.opts[0].removeprefix("--")
        if key in recipe.settings and key != "data" and isinstance(option, click.Option):
            expected = recipe.settings[key]
            assert context.params[option.name] == (tuple(expected) if isinstance(expected, list) else expected)
    assert recipe.about
    assert recipe.settings.get("data", "digits") in {*SETS, "digits"}
    augmentation(recipe.settings["augment"])
    known = {key.replace("-", "_"): value for key, value in recipe.settings.items()}
    left = {key: value for key, value in known.items() if key not in ("model", "set", "input_shape", "data")}
    TrainConfig(model=ModelSpec(name="resnet8", input_shape=(3, 32, 32), classes=10), data="x", **left)


@pytest.mark.parametrize("name", [name for name in recipe_names() if not name.startswith("transfer/")])
def test_the_network_costs_what_the_recipe_says(name):
    recipe = load_recipe(name)
    shape = parse_shape(recipe.settings["input-shape"])
    spec = ModelSpec(
        name=recipe.settings["model"],
        input_shape=shape,
        classes=CLASSES[name.partition("/")[0]],
        arguments=parse_arguments(recipe.settings.get("set", ())),
    )
    cost = count(build(spec), shape)
    weights, unit, macs = re.search(r"([\d.]+) ([kM]) weights, ([\d.]+) M MACs", recipe.about).groups()
    assert f"{cost.parameters / {'k': 1e3, 'M': 1e6}[unit]:.{len(weights.partition('.')[2])}f}" == weights
    assert f"{cost.macs / 1e6:.1f}" == macs
    if name.startswith("cifar10/"):
        assert cost.parameters < 100_000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagenet/mcunt", "no recipe is called 'imagenet/mcunt': did you mean imagenet/mcunet?"),
        ("Flowers102", "did you mean transfer/flowers102?"),
        ("../../etc/passwd", "no recipe is called"),
        ("none.toml", "none.toml: no readable TOML"),
    ],
)
def test_an_unknown_recipe_is_one_line(name, message):
    with pytest.raises(NdtoolError, match=re.escape(message)) as error:
        load_recipe(name)
    assert "\n" not in str(error.value)


def test_a_file_of_the_users_is_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('about = "mine"\n[train]\nepochs = 2\n')
    assert load_recipe(str(path)).settings == {"epochs": 2}
    path.write_text("epochs = 2\n")
    with pytest.raises(NdtoolError, match=r"has no section \[train\]"):
        load_recipe(str(path))
