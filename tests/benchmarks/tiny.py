"""A C library written by hand: two layers on eight bytes, of which the reference is plain Python."""

import numpy as np

from ndtool.export.c.library import CLibrary, Layer, Port

SIZE = 64

HEADER = f"""
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
#define TINY_ARENA_WORDS {2 * SIZE // 4}u
void tiny_run(uint32_t arena[TINY_ARENA_WORDS]);
void tiny_quantize_input(const float *x, uint32_t arena[TINY_ARENA_WORDS]);
void tiny_dequantize_output(const uint32_t arena[TINY_ARENA_WORDS], float *y);
#endif
"""

SOURCE = """
#include "tiny.h"
#include "tiny_weights.h"
#include "ndtool_kernels.h"

void tiny_layer_00(uint8_t *arena);
void tiny_layer_01(uint8_t *arena);

ND_NOINLINE void tiny_layer_00(uint8_t *arena)
{
    nd_scale((int8_t *)(arena + 64), (const int8_t *)arena, tiny_weights, 64);
}

ND_NOINLINE void tiny_layer_01(uint8_t *arena)
{
    nd_negate((int8_t *)arena, (const int8_t *)(arena + 64), 64);
}

void tiny_run(uint32_t arena[TINY_ARENA_WORDS])
{
    uint8_t *bytes = (uint8_t *)arena;

    tiny_layer_00(bytes);
    tiny_layer_01(bytes);
}

void tiny_quantize_input(const float *x, uint32_t arena[TINY_ARENA_WORDS])
{
    int8_t *to = (int8_t *)arena;

    for (int i = 0; i < 64; i++)
        to[i] = (int8_t)(x[i] * 2.0f);
}

void tiny_dequantize_output(const uint32_t arena[TINY_ARENA_WORDS], float *y)
{
    const int8_t *from = (const int8_t *)arena;

    for (int i = 0; i < 64; i++)
        y[i] = (float)from[i] * 0.5f;
}
"""

KERNELS_HEADER = """
#ifndef NDTOOL_KERNELS_H
#define NDTOOL_KERNELS_H
#include <stddef.h>
#include <stdint.h>
#define ND_NOINLINE __attribute__((noinline))
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void nd_scale(int8_t *output, const int8_t *input, const int8_t *weights, int32_t size);
void nd_negate(int8_t *output, const int8_t *input, int32_t size);
#endif
"""

SCALE = """
#include "ndtool_kernels.h"
void nd_scale(int8_t *output, const int8_t *input, const int8_t *weights, int32_t size)
{
    for (int32_t i = 0; i < size; i++) {
        int32_t value = input[i] * weights[i] / 16;
        if (value > 127)
            value = 127;
        if (value < -128)
            value = -128;
        output[i] = (int8_t)value;
    }
}
"""

# A local buffer whose depth the painted stack must show.
NEGATE = """
#include "ndtool_kernels.h"
void nd_negate(int8_t *output, const int8_t *input, int32_t size)
{
    volatile int8_t buffer[512];

    for (int32_t i = 0; i < 512; i++)
        buffer[i] = input[i % size];
    for (int32_t i = 0; i < size; i++)
        output[i] = buffer[i] == -128 ? 127 : (int8_t)-buffer[i];
}
"""

WEIGHTS = np.arange(-32, 32, dtype=np.int8)


def library(*, float_ends: bool = False, kernels: dict[str, str] | None = None) -> CLibrary:
    """The library; other kernel sources may be given in place of its own."""
    values = ", ".join(str(value) for value in WEIGHTS)
    files = {
        "tiny.h": HEADER,
        "tiny.c": SOURCE,
        "tiny_weights.h": "#include <stdint.h>\nextern const int8_t tiny_weights[64];\n",
        "tiny_weights.c": f'#include "tiny_weights.h"\nconst int8_t tiny_weights[64] = {{{values}}};\n',
        "ndtool_kernels.h": KERNELS_HEADER,
        "nd_scale.c": SCALE,
        "nd_negate.c": NEGATE,
    }
    port = {"shape": (1, SIZE), "dtype": "int8", "scale": 0.5, "zero_point": 0, "bytes": SIZE, "is_float": float_ends}
    layers = [_layer("tiny_layer_00", "FULLY_CONNECTED", "nd_scale", SIZE), _layer("tiny_layer_01", "NEG", "nd_negate")]
    if float_ends:
        layers = [
            _layer("tiny_quantize_input", "QUANTIZE", "nd_quantize"),
            *layers,
            _layer("tiny_dequantize_output", "DEQUANTIZE", "nd_dequantize"),
        ]
    return CLibrary(
        name="tiny",
        files=files | (kernels or {}),
        inputs=(Port(name="x", offset=0, **port),),
        outputs=(Port(name="y", offset=0, **port),),
        layers=tuple(layers),
        arena_bytes=2 * SIZE,
        lower_bound_bytes=2 * SIZE,
        weight_bytes=SIZE,
        objective="latency",
    )


def _layer(symbol: str, kind: str, kernel: str, macs: int = 0) -> Layer:
    return Layer(
        symbol=symbol,
        name=f"{symbol} output",
        kind=kind,
        kernel=kernel,
        output_shape=(1, SIZE),
        macs=macs,
        weight_bytes=SIZE if macs else 0,
        live_bytes=2 * SIZE,
        live_tensors=(("x", SIZE), ("y", SIZE)),
    )


def expected(x: np.ndarray) -> np.ndarray:
    """The output for int8 input of shape (1, SIZE)."""
    scaled = np.trunc(x.astype(np.int32) * WEIGHTS / 16).clip(-128, 127)
    return np.minimum(-scaled, 127).astype(np.int8)
