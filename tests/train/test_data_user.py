"""Data that a user's function returns."""

import random
import sys

import numpy as np
import pytest
import torch

from ndtool.errors import NdtoolError
from ndtool.train.data import OnDemand, batches, load_data

HEADER = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

def arrays(count, kind=np.float32):
    x = np.random.default_rng(count).normal(size=(count, 6)).astype(kind)
    return x, np.arange(count) % 3

class Items(Dataset):
    def __init__(self, make, count=30): self.make, self.count = make, count
    def __len__(self): return self.count
    def __getitem__(self, index): return self.make(index)

class Duck:
    def __len__(self): return 30
    def __getitem__(self, index): return torch.full((4,), float(index)), index % 2
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))

    def write(body: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(f"{HEADER}\ndef make():\n    {body}\n")
        return f"{path}:make"

    return write


def test_arrays(write):
    data = load_data(write("return arrays(30), arrays(9)"))
    assert (data.name, data.input_shape, data.normalisation) == ("make", (6,), None)
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 9)
    assert np.array_equal(data.test.x.numpy(), np.random.default_rng(9).normal(size=(9, 6)).astype(np.float32))


def test_three_parts(write):
    data = load_data(write("return arrays(30), arrays(12), arrays(9)"))
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 12, 9)


def test_samples_alone_are_for_reconstruction(write):
    data = load_data(write("return arrays(30)[0], torch.ones(9, 6)"))
    assert (data.task, len(data.test)) == ("reconstruction", 9)


def test_fixed_datasets_are_kept_in_memory(write):
    spec = write("return (TensorDataset(torch.arange(120.).view(30, 4), torch.arange(30) % 3),) * 2")
    data = load_data(spec)
    assert torch.equal(data.test.x, torch.arange(120.0).view(30, 4))
    assert data.test.y.tolist() == [index % 3 for index in range(30)]


def test_anything_with_length_and_items_is_a_dataset(write):
    assert load_data(write("return Duck(), Duck()")).test.x[7].tolist() == [7.0] * 4


def test_pictures_are_decoded(write):
    body = "return (Items(lambda i: (Image.new('RGB', (6, 5), (i, 0, 0)), i % 2)),) * 2"
    data = load_data(write(body), input_shape=(3, 10, 12))
    assert data.test.x.shape == (30, 3, 10, 12)
    assert data.test.x[:, 0, 0, 0].tolist() == list(range(30))
    assert len(data.normalisation.mean) == 3


def test_random_datasets_are_read_again_and_the_same_for_the_same_seed(write):
    data = load_data(
        write("return Items(lambda i: (torch.rand(3) + i, i % 2)), Items(lambda i: (torch.ones(3), i % 2))")
    )
    assert isinstance(data.train.x, OnDemand)
    assert not isinstance(data.test.x, OnDemand)
    assert "differs each time" in data.notes[0]

    def epoch(number: int) -> torch.Tensor:
        return torch.cat([x for x, _ in batches(data.train, data, batch_size=8, shuffle_seed=3, epoch=number)])

    assert torch.equal(epoch(0), epoch(0))
    assert not torch.equal(epoch(0).sort(0).values, epoch(1).sort(0).values)
    one_by_one = [x for x, _ in batches(data.train, data, batch_size=1, shuffle_seed=3)]
    assert torch.equal(torch.cat(one_by_one), epoch(0))


def test_reading_random_datasets_leaves_random_numbers_alone(write):
    data = load_data(write("return (Items(lambda i: (torch.rand(3), i % 2)),) * 2"))
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    list(batches(data.train, data, batch_size=8))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]


def test_random_pictures_are_not_frozen(write):
    body = "return (Items(lambda i: (Image.fromarray(torch.randint(0, 256, (8, 8, 3)).byte().numpy()), i % 2)),) * 2"
    data = load_data(write(body))
    assert isinstance(data.train.x, OnDemand)
    assert data.input_shape == (3, 8, 8)
    assert data.augment == "none"


def test_targets_that_are_tensors_are_left_to_reconstruction(write):
    data = load_data(write("return (Items(lambda i: (torch.full((3,), float(i)), torch.ones(3))),) * 2"))
    assert data.task == "reconstruction"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return arrays(9)[0]", "returned one ndarray: return"),
        ("return 1, 2, 3, 4", "returned 4 values: return"),
        ("return 'a', 'b'", "returned one str as a part"),
        ("return Items(lambda i: (torch.ones(2), 0)), arrays(3)", "Datasets beside arrays"),
        ("return (Items(lambda i: (torch.ones(i + 1), i % 2)),) * 2", "different shapes"),
        ("return (Items(lambda i: 1, 0),) * 2", "part is empty"),
        ("return type('S', (IterableDataset,), {'__iter__': iter})(), Duck()", "has no length"),
        ("return 1 / 0", r"failed \(mine.py, line \d+\): ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return (Items(lambda i: (torch.ones(2), ['x'][i])),) * 2", "failed.*IndexError"),
        ("return undefined", "NameError: name 'undefined'"),
    ],
)
def test_what_is_wrong_is_said(write, body, message):
    with pytest.raises(NdtoolError, match=message) as error:
        load_data(write(body))
    assert "\n" not in str(error.value)


def test_missing_function_and_file_are_named(write, tmp_path):
    spec = write("return 1")
    with pytest.raises(NdtoolError, match=r"mine.py has no 'maker': did you mean make\?"):
        load_data(spec + "r")
    with pytest.raises(NdtoolError, match=r"mone.py does not exist: did you mean .*mine.py\?"):
        load_data(spec.replace("mine", "mone"))


def test_nothing_of_the_users_folder_stays_importable(write, tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("VALUE = 7")
    spec = write("import helper_of_mine; return (np.full((9, 2), helper_of_mine.VALUE),) * 2")
    path = list(sys.path)
    assert load_data(spec).test.x.unique().tolist() == [7.0]
    assert sys.path == path
    assert "helper_of_mine" not in sys.modules
