"""Data: loaded from anywhere, split, decoded once, augmented in batches."""

from ndtool.train.data.augment import PRESETS, Augment, augmentation
from ndtool.train.data.batches import Batches, batches, calibration_samples, evaluation_inputs
from ndtool.train.data.dataset import CLASSIFICATION, RECONSTRUCTION, TASKS, Data, Normalisation, OnDemand, Split
from ndtool.train.data.load import DATASETS, load_data

__all__ = [
    "CLASSIFICATION",
    "DATASETS",
    "PRESETS",
    "RECONSTRUCTION",
    "TASKS",
    "Augment",
    "Batches",
    "Data",
    "Normalisation",
    "OnDemand",
    "Split",
    "augmentation",
    "batches",
    "calibration_samples",
    "evaluation_inputs",
    "load_data",
]
