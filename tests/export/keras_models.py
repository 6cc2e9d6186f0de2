"""Write Keras models for the tests into the folder given; run by a Python that has TensorFlow."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

folder = Path(sys.argv[1])
keras.utils.set_random_seed(0)
layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Custom(layers.Layer):
    """A layer of the user's own."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * 2


def network(*body: layers.Layer, shape: tuple[int | None, ...] = (8, 8, 3)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *body])


cnn = network(
    layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    layers.BatchNormalization(),
    layers.DepthwiseConv2D(3, padding="same"),
    layers.MaxPooling2D(2),
    layers.Flatten(),
    layers.Dense(5, activation="softmax"),
)
cnn.save(folder / "cnn.keras")
cnn.save(folder / "cnn.h5")
cnn.save_weights(folder / "only.weights.h5")
cnn.export(folder / "saved")
np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32))
np.save(folder / "y.npy", cnn(np.load(folder / "x.npy")))

function = network(layers.Lambda(lambda x: x + 1))
function.save(folder / "lambda.keras")
function.save(folder / "lambda.h5")
network(Custom()).save(folder / "custom.keras")
network(layers.GlobalAveragePooling2D(), shape=(None, None, 3)).save(folder / "open.keras")
a, b = keras.Input((3,)), keras.Input((3,))
keras.Model([a, b], layers.Add()([a, b])).save(folder / "two.keras")


class Reader(tf.Module):
    """A model that reads a file when it is called."""

    @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32)])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


tf.saved_model.save(Reader(), str(folder / "reader"))
