"""train, export, eval and list, as their users meet them."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest

from ndtool.cli import cli, main
from ndtool.train.run import RunFolder

ROOT = Path(__file__).resolve().parents[1]
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes: int = 10, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.conv(x))).mean((2, 3)))

class Odd(Net):
    def forward(self, x):
        return torch.special.i0(torch.erfinv(torch.tanh(super().forward(x)) / 2))
"""


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def ndtool(monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterator:
    """`ndtool(*words)`: the command in this process, in the folder of net.py and the run."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("NDTOOL_CACHE", str(place / "cache"))
    return run_here


def run_here(*words: object) -> Done:
    from ndtool.console import console

    console.cache_clear()  # it keeps the streams it was made with
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    console.cache_clear()
    return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py, float data, weights, and a run of two epochs exported to int8, the last run."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(96, 1, 8, 8)).astype(np.float32), np.arange(96) % 3
    np.savez(folder / "floats.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    (folder / "wrong.toml").write_text("[train]\nepoch = 3\n")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("NDTOOL_CACHE", str(folder / "cache"))
        done = run_here("train", "net.py:Net", "--data", "digits", "--epochs", 2, "--out", "run")
        assert (done.code, done.err.count("epoch ")) == (0, 2), done.err
        done = run_here("export", "--int8", "--c")
        assert done.code == 0, done.err
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "cache" not in path.parts[-3:]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "ndtool: no command 'trian': did you mean train?"),
        ("--confg x train", "ndtool: No such option '--confg'. Did you mean '--config'?"),
        ("train", "ndtool train: name a MODEL and --data DATA, e.g. ndtool train resnet8 --data digits"),
        ("train resnet9 --data digits", "ndtool: no model is called 'resnet9': did you mean resnet8?"),
        ("train net.py:Nett --data digits", "ndtool: {place}/net.py has no 'Nett': did you mean Net?"),
        ("train nett.py:Net --data digits", "ndtool: {place}/nett.py does not exist: did you mean {place}/net.py?"),
        (
            "train net.py --data digits",
            "ndtool: net.py names no model in the file: write net.py:callable, e.g. net.py:Net",
        ),
        ("train resnet8 --data digitz", "ndtool: there are no data 'digitz': did you mean digits?"),
        ("train resnet8 --data float.npz", "ndtool: there are no data 'float.npz': did you mean floats.npz?"),
        (
            "train resnet8 --data digits --method netdistil",
            "ndtool train: Invalid value for '--method': 'netdistil' is not one of 'netdistiller', 'inplace', "
            "'netaug', 'kd', 'vanilla'.",
        ),
        (
            "train resnet8 --data digits --epoch 3",
            "ndtool train: No such option '--epoch'. (Did you mean one of: '--epochs', '--teacher'?)",
        ),
        (
            "train resnet8 --data digits --set widht=1",
            "ndtool: resnet8: it has no argument 'widht': it takes width",
        ),
        (
            "train resnet8 --data digits --epochs 0",
            "ndtool: epochs = 0 is out of range: give a number from 1 to 1e+06",
        ),
        (
            "train resnet8 --data digits --device gpu",
            "ndtool: device 'gpu' is not available: use auto, cpu, cuda or mps",
        ),
        (
            "train resnet8 --data digits --augment cropp",
            "ndtool: no augmentation is called 'cropp': choose from auto, none, crop, flip-crop, flip-crop-cutout, "
            "flip-crop-colour, resized-crop, resized-crop-colour",
        ),
        (
            "train net.py:Net --data digits --out run",
            "ndtool: run holds a run already: choose another --out, or give --resume or --overwrite",
        ),
        (
            "train net.py:Nett --data digits --out run --overwrite",
            "ndtool: {place}/net.py has no 'Nett': did you mean Net?",
        ),
        (
            "train net.py:Net --data digits --out cache",
            "ndtool: cache is not empty and not a run: choose another --out",
        ),
        (
            "train --resume --out cache",
            "ndtool: cache is not a run (has no config.toml): give the folder that `ndtool train --out` wrote",
        ),
        (
            "train --resume --out run --lr 1 --epochs 3",
            "ndtool train: --resume goes on with the settings of the run: leave out --lr, --epochs",
        ),
        (
            "--config wrong.toml train resnet8 --data digits",
            "ndtool: wrong.toml: [train] has no setting 'epoch': did you mean epochs?",
        ),
        ("--config none.toml train", "ndtool: Invalid value for '--config': File 'none.toml' does not exist."),
        (
            "export runs/none",
            "ndtool: runs/none does not exist: give a name (`ndtool list models`), file.py:callable or module:callable",
        ),
        ("export none.onnx", "ndtool: none.onnx does not exist: give a file that does"),
        ("export net.py:Nett --data digits", "ndtool: net.py has no 'Nett': did you mean Net?"),
        (
            "export net.py:Net --data digits --weights none.pt",
            "ndtool: none.pt does not exist: give a .safetensors, .pt or .pth file of weights",
        ),
        (
            "export net.py:Net",
            "ndtool: net.py:Net: its input shape is not known: give --input-shape, e.g. 3x96x96, or --data",
        ),
        ("export net.py:Net --input-shape 1x8x8 --int8", "ndtool: no data for calibration: give --data"),
        ("export net.py:Net --input-shape 1x8x8 --c", "ndtool: C is made from the int8 model: add --int8"),
        (
            "export run --int8 --c --package mbed",
            "ndtool export: Invalid value for '--package': 'mbed' is not one of 'plain', 'cmake', 'arduino', 'zephyr', "
            "'platformio', 'esp-idf'.",
        ),
        ("export run --package cmake", "ndtool export: a package is made of the C library: add --c"),
        ("export run --data digitz", "ndtool: there are no data 'digitz': did you mean digits?"),
        (
            "export run --data digits --mean 0.5",
            "ndtool: --mean and --std belong together: a number per channel each, e.g. --mean 0.5 --std 0.25",
        ),
        (
            "eval run --part tests",
            "ndtool eval: Invalid value for '--part': 'tests' is not one of 'test', 'validation', 'train'.",
        ),
        ("eval none.tflite --data digits", "ndtool: none.tflite does not exist: give a file that does"),
        (
            "eval run/student.safetensors --data digits",
            "ndtool: run/student.safetensors holds weights only: give the model as file.py:callable and this as "
            "--weights",
        ),
        (
            "eval run/model.onnx --engine c",
            "ndtool: model.onnx is no int8 TFLite file, which C is made from: ndtool export --int8 makes one",
        ),
        (
            "eval run --per-layer --engine c",
            "ndtool eval: --per-layer compares LiteRT's tensors: leave out --engine c",
        ),
        (
            "eval run --engine c --target cortex-m8",
            "ndtool: no target 'cortex-m8': did you mean cortex-m7?",
        ),
        ("eval run/model.onnx", "ndtool: model.onnx: no data to evaluate on: give --data"),
        (
            "list model",
            "ndtool list: Invalid value for 'WHAT': 'model' is not one of 'models', 'data', 'recipes', "
            "'targets', 'methods', 'ops'.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(line: str, message: str, ndtool, place: Path) -> None:
    before = files_of(place)
    done = ndtool(*line.split())
    told = [text for text in done.err.splitlines() if not text.startswith("settings from ")]
    assert (done.code, told, done.out) == (2, [message.format(place=place)], "")
    assert files_of(place) == before


def test_unsupported_operators_are_named_together(ndtool, place: Path) -> None:
    done = ndtool("export", "net.py:Odd", "--input-shape", "1x8x8")
    assert done.code == 2
    assert "ndtool: Odd: 2 operators are not supported:" in done.err
    for name in ("aten.erfinv.default", "aten.i0.default"):
        assert re.search(rf"^  {name} '\w+': .+; .+$", done.err, re.MULTILINE)
    assert not (place / "Odd-export").exists()


def test_a_loss_that_is_no_number_says_what_to_change(ndtool, tmp_path: Path) -> None:
    words = ("--lr", 900, "--clip", 0, "--warmup", 0, "--epochs", 30, "--batch-size", 8, "--out", tmp_path / "run")
    done = ndtool("train", "net.py:Net", "--data", "floats.npz", *words)
    assert done.code == 2
    assert re.search(
        r"^ndtool: .* no numbers? (at the steps \d+ to \d+|any more after step \d+): lower --lr or set --clip$",
        done.err,
        re.MULTILINE,
    )


def test_debug_shows_the_traceback(ndtool) -> None:
    from ndtool.errors import NdtoolError

    with pytest.raises(NdtoolError, match="no model is called"):
        main(["train", "resnet9", "--data", "digits", "--debug"])


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--resume", "--out", "run"),
        ("export", "run", "--int8", "--out", "copy"),
        ("eval", "run", "--per-layer", "--limit", "5"),
        ("eval", "run/model.int8.tflite", "--data", "digits", "--limit", "5"),
        ("list", "models"),
        ("list", "ops"),
    ],
)
def test_json_is_all_that_stdout_has(words: tuple[str, ...], ndtool) -> None:
    done = ndtool(*words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)


def test_the_last_run_is_taken_and_named(ndtool, place: Path) -> None:
    RunFolder.open(place / "run").remember()  # whatever another test has trained since
    for command in (("eval", "--limit", "5"), ("export",), ("export", "--int8", "--c")):
        done = ndtool(*command)
        assert done.code == 0, done.err
        assert done.err.splitlines()[0] == f"using the last run: {place / 'run'}"
    assert {"model.onnx", "model.int8.tflite", "c/run.h", "export.json"} <= files_of(place / "run")


def test_the_c_library_of_a_run_is_evaluated_beside_the_reference(ndtool) -> None:
    done = ndtool("eval", "run", "--engine", "c", "--limit", 20, "--json")
    result = json.loads(done.out)
    reference, engine = result["scores"].values()
    assert (done.code, result["differing"], result["samples"], result["outputs"]) == (0, 0, 20, 200)
    assert reference == engine
    shown = ndtool("eval", "run/model.int8.tflite", "--engine", "c", "--limit", 5, "--target", "cortex-m0plus")
    assert shown.code == 0
    assert re.search(r"not LiteRT's bytes +none", shown.out)


def test_every_form_of_a_run_is_evaluated(ndtool) -> None:
    scores = json.loads(ndtool("eval", "run", "--part", "validation", "--limit", 40, "--json").out)["scores"]
    assert list(scores) == ["PyTorch", "model.onnx", "model.fp32.tflite", "model.int8.tflite"]
    assert {score["count"] for score in scores.values()} == {40}
    assert scores["PyTorch"]["accuracy"] == scores["model.onnx"]["accuracy"] == scores["model.fp32.tflite"]["accuracy"]


def test_layers_are_ranked_worst_first(ndtool) -> None:
    layers = json.loads(ndtool("eval", "run", "--per-layer", "--limit", 5, "--json").out)["layers"]
    losses = [layer["local_db"] for layer in layers]
    assert losses == sorted(losses)
    assert {"conv/depthwise_conv_2d", "output"} <= {layer["name"] for layer in layers}


def test_a_run_can_be_moved_and_other_data_are_scaled_as_in_training(ndtool, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "elsewhere")
    assert ndtool("export", tmp_path / "elsewhere", "--int8").code == 0
    done = ndtool("eval", tmp_path / "elsewhere" / "model.int8.tflite", "--data", "digits", "--limit", 5)
    normalisation = json.loads((tmp_path / "elsewhere" / "export.json").read_text())["normalisation"]
    assert f"mean ({normalisation['mean'][0]},), std ({normalisation['std'][0]},)" in done.err


def test_an_export_replaces_nothing_that_no_export_made(ndtool, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "main.c").write_text("int main;")
    done = ndtool("export", "run/model.int8.tflite", "--c", "--out", tmp_path)
    assert (done.code, done.err) == (
        2,
        f"ndtool: {tmp_path} holds c, made by no export: choose another --out, or move it\n",
    )
    assert (tmp_path / "c" / "main.c").exists()


def test_a_package_is_written_and_can_be_a_setting(ndtool, tmp_path: Path) -> None:
    (tmp_path / "package.toml").write_text('[export]\npackage = "zephyr"\n')
    words = ("export", "run/model.int8.tflite", "--c", "--c-name", "net", "--out", tmp_path)
    assert ndtool(*words, "--package", "arduino").code == 0
    assert {"c/library.properties", "c/src/net.c", "c/examples/net/net.ino", "export.json"} <= files_of(tmp_path)
    assert ndtool("--config", tmp_path / "package.toml", *words).code == 0
    assert {"c/zephyr/module.yml", "c/src/net.c"} <= files_of(tmp_path)
    assert "c/library.properties" not in files_of(tmp_path)


def test_every_package_can_be_chosen() -> None:
    from ndtool.export.c.packages import PACKAGES

    (choice,) = (parameter.type for parameter in cli.commands["export"].params if parameter.name == "package")
    assert list(choice.choices) == list(PACKAGES)


def test_training_anew_removes_what_was_exported(ndtool, place: Path, tmp_path: Path) -> None:
    run = shutil.copytree(place / "run", tmp_path / "run")
    words = ("train", "net.py:Net", "--data", "floats.npz", "--epochs", 1, "--batch-size", 32, "--out", run)
    assert ndtool(*words, "--overwrite").code == 0
    assert not {"model.onnx", "model.int8.tflite", "c", "export.json"} & files_of(run)
    assert (run / "student.safetensors").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_flags_win_over_the_config_file(ndtool, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        '[train]\nmodel = "net.py:Net"\ndata = "floats.npz"\nepochs = 5\nbatch-size = 32\nset = ["width=2"]\n'
        f'out = "{tmp_path / "run"}"\n'
    )
    done = ndtool("--config", config, "train", "--epochs", 1, "--json")
    assert done.code == 0, done.err
    assert done.err.splitlines()[0] == f"settings from {config}"
    written = (tmp_path / "run" / "config.toml").read_text()
    assert "epochs = 1\n" in written
    assert "batch_size = 32\n" in written
    assert "width = 2\n" in written


def test_flags_win_over_a_recipe_and_a_typed_recipe_over_the_config_file(ndtool, tmp_path: Path) -> None:
    config, recipe = tmp_path / "mine.toml", tmp_path / "short.toml"
    recipe.write_text(
        'about = "short"\n[train]\nmodel = "net.py:Net"\nset = ["width=2"]\nepochs = 3\nbatch-size = 64\nlr = 0.5\n'
    )
    config.write_text('[train]\ndata = "floats.npz"\nbatch-size = 32\nlr = 0.25\n')
    words = ("--config", config, "train", "--epochs", 1, "--json", "--out")
    done = ndtool(*words, tmp_path / "typed", "--recipe", recipe)
    assert done.code == 0, done.err
    written = (tmp_path / "typed" / "config.toml").read_text()
    assert "epochs = 1\n" in written
    assert "batch_size = 64\nlr = 0.5\n" in written.replace('optimizer = "sgd"\n', "")
    assert "width = 2\n" in written

    config.write_text(f'[train]\nrecipe = "{recipe}"\ndata = "floats.npz"\nbatch-size = 32\n')
    done = ndtool(*words, tmp_path / "named")
    assert done.code == 0, done.err
    written = (tmp_path / "named" / "config.toml").read_text()
    assert "batch_size = 32\nlr = 0.5\n" in written.replace('optimizer = "sgd"\n', "")
    assert (
        ndtool("--config", recipe, "train", "--data", "floats.npz", "--epochs", 1, "--out", tmp_path / "as").code == 0
    )


def test_a_recipe_says_what_is_missing(ndtool, place: Path, tmp_path: Path) -> None:
    for words, message in (
        (("--recipe", "imagenet/mcunet"), "there are no data for mcunet-in3: add --data DATA (ndtool list data)"),
        (("--recipe", "transfer/food101"), "there is no model for food101: name a MODEL, or begin with a trained run"),
        (
            ("--resume", "--recipe", "cifar10/resnet8"),
            "--resume goes on with the settings of the run: leave out --recipe",
        ),
    ):
        done = ndtool("train", *words, "--out", place / "run" if "--resume" in words else tmp_path / "none")
        assert done.code == 2
        assert message in done.err
        assert done.err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_run_is_where_another_begins(ndtool, place: Path, tmp_path: Path) -> None:
    words = (
        "train",
        "--init",
        "run",
        "--data",
        "floats.npz",
        "--epochs",
        1,
        "--batch-size",
        32,
        "--out",
        tmp_path / "b",
    )
    done = ndtool(*words)
    assert done.code == 0, done.err
    assert f'init = "{place / "run"}"' in (tmp_path / "b" / "config.toml").read_text()


def test_a_study_begins_with_a_run_too(ndtool, place: Path, tmp_path: Path) -> None:
    words = ("--data", "floats.npz", "--methods", "vanilla", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "study")
    done = ndtool("compare", "--init", "run", *words)
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "study" / "results" / "vanilla.seed-0.json").read_text())
    assert record["config"]["init"] == str(place / "run")
    (place / "run").rename(tmp_path / "run")
    again = ndtool("compare", "--init", tmp_path / "run", *words)  # where it lies does not count
    (tmp_path / "run").rename(place / "run")
    assert again.code == 0, again.err
    refused = ndtool("compare", *words)
    assert refused.code == 2
    assert "there is no model for floats.npz: name a MODEL, or begin with a trained run, --init RUN" in refused.err
    varied = ndtool(
        "compare", "--init", "run", *words, "--vary", "vanilla.lr=0.1", "--vary", "vanilla.lr=0.2", "--json"
    )
    assert varied.code == 0, varied.err
    rows = json.loads(varied.out)["rows"]
    assert [row["variant"] for row in rows] == ["vanilla", "vanilla lr=0.1", "vanilla lr=0.2"]


def _start(place: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from ndtool.cli import main; main()", *map(str, words)]
    environment = {**os.environ, "NDTOOL_CACHE": str(place / "cache-of-processes")}
    return subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_run_that_was_interrupted_or_killed_goes_on_to_the_same_weights(place: Path, tmp_path: Path) -> None:
    words = ("train", "net.py:Net", "--data", "digits", "--epochs", 6, "--batch-size", 32)
    whole = _start(place, *words, "--out", tmp_path / "whole")
    assert whole.communicate(timeout=120)[1].count("epoch ") == 6
    expected = (tmp_path / "whole" / "student.safetensors").read_bytes()
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        out = tmp_path / number.name
        process = _start(place, *words, "--out", out)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/6"):
                break
        while not (out / "checkpoints" / "last.pt").exists():  # the epoch is told a moment before it is saved
            time.sleep(0.01)
        time.sleep(0.03)  # into the next epoch
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
        assert process.returncode == code, told
        assert not (out / "student.safetensors").exists()
        if number is signal.SIGINT:
            assert told.splitlines()[-1].endswith(f"go on with: ndtool train {out} --resume")
        named = (out, "--resume") if number is signal.SIGINT else ("--resume", "--out", out)
        resumed = _start(place, "train", *named)
        told = resumed.communicate(timeout=120)[1]
        assert resumed.returncode == 0, told
        assert (out / "student.safetensors").read_bytes() == expected


def test_help_names_every_command_with_examples(ndtool) -> None:
    out = ndtool("--help").out
    for name in cli.commands:
        assert re.search(rf"^  {name} +\w", out, re.MULTILINE), name
        assert re.search(rf"^  ndtool {name}( |$)", ndtool(name, "--help").out, re.MULTILINE), name


def test_the_defaults_in_the_help_are_those_of_the_settings() -> None:
    from ndtool.train.choices import CHOICES
    from ndtool.train.config import TrainConfig
    from ndtool.train.models import ModelSpec

    spec = ModelSpec(name="resnet8", input_shape=(1, 8, 8), classes=10)
    sgd, adamw = (TrainConfig(model=spec, data="digits", optimizer=name) for name in ("sgd", "adamw"))
    options = {option.name: option for option in cli.commands["train"].params if isinstance(option, click.Option)}
    checked = set()
    for name, option in options.items():
        stated = re.search(r"\[default: (.*)\]$", option.help or "")
        if name == "lr":
            large, small = (sgd.learning_rate(normalised=normalised) for normalised in (True, False))
            of_adamw = adamw.learning_rate(normalised=False)
            expected = f"{large} for sgd, BatchNorm and classes; else {small}; {of_adamw} for adamw"
        elif name == "weight_decay":
            expected = f"{sgd.decay} for sgd, {adamw.decay} for adamw"
        elif name == "amp":
            assert sgd.amp is None
            expected = "on CUDA GPUs that have it"
        elif name == "compile":
            expected = "compile" if sgd.compile else "no-compile"
        elif hasattr(sgd, name) and name not in (
            "data",
            "model",
            "augment",
            "task",
            "teacher",
            "init",
            "micro_batches",
        ):
            expected = str(getattr(sgd, name))
        else:
            continue
        assert stated is not None, name
        assert stated[1] == expected, name
        checked.add(name)
        if name in CHOICES:
            assert isinstance(option.type, click.Choice)
            assert tuple(option.type.choices) == CHOICES[name]
    assert {"epochs", "lr", "weight_decay", "clip", "distill", "validation", "seed"} <= checked


def test_every_command_is_in_the_documents() -> None:
    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    missing = [name for name in cli.commands if f"ndtool {name}" not in text and f"make {name}" not in text]
    assert missing == []
