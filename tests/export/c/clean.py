"""Libraries run under AddressSanitizer and UBSan, in a program of their own.

Each runs twice in an arena of the exact size, which the sanitizer guards at both ends: through the self-test, where
there is one, and call by call, when all of the arena is poisoned that is neither an argument of the call nor a scratch
of its own. So a kernel is also caught where it reads or writes another tensor. The poison has a grain of eight bytes:
what lies in the last, unfilled grain of an argument may not be noticed.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from ndtool.export.c import CLibrary, account, compile_tflite, host, write_library
from ndtool.export.c.call import Slot, Strip
from ndtool.export.c.context import Features
from ndtool.export.c.emission import Emission
from ndtool.tests.export.c.harness import objects

FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-std=c99")

PROGRAM = """
#include "{name}.h"
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
{prototypes}
static uint8_t *bytes;

static void rubbish(void)
{{
    for (size_t i = 0; i < {macro}_ARENA_BYTES; i++)
        bytes[i] = (uint8_t)rand();
}}

static void hide(void) {{ __asan_poison_memory_region(bytes, {macro}_ARENA_BYTES); }}
static void show(size_t start, size_t size) {{ __asan_unpoison_memory_region(bytes + start, size); }}

int main(void)
{{
    uint32_t *arena = malloc({macro}_ARENA_BYTES);
    int result = 0;
    bytes = (uint8_t *)arena;
    rubbish();
    {selftest}
    rubbish();
{calls}
    show(0, {macro}_ARENA_BYTES);
    {name}_run(arena);
    free(arena);
    return result;
}}
"""


@contextmanager
def emissions() -> Iterator[list[Emission]]:
    """What the compiler prints within, each with its plan."""
    seen: list[Emission] = []

    def emit(emission: Emission) -> object:
        seen.append(emission)
        return original(emission)

    original = account.emit
    with patch.object(account, "emit", emit):
        yield seen


def run_clean(
    content: bytes | Path,
    folder: Path,
    *,
    features: Features | None = None,
    golden: int = 2,
) -> None:
    """Compile a model and run its library under the sanitizers; what they find is an AssertionError."""
    with emissions() as seen:
        library = compile_tflite(content, name="t", golden=golden, features=features)
    program = program_of(library, seen[-1])
    write_library(library, folder)
    (folder / "main.c").write_text(program)
    cc = host.host_compiler()
    flags = (*FLAGS, *host.stand_ins(features))
    parts = [str(path) for path in host.compile_files(library, folder, cc, flags, shared=objects())]
    main = str(folder / "main")
    built = subprocess.run([*cc, *FLAGS, str(folder / "main.c"), *parts, "-o", main], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([main], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr


def program_of(library: CLibrary, emission: Emission) -> str:
    """The program that runs a library, call by call too."""
    calls, prototypes = [], []
    for first, _, slot in emission.placed():
        symbols = [emission.layer(first + index) for index in range(len(slot.calls))]
        shown = "".join(f" show({start}, {size});" for start, size in _regions(emission, slot))
        if isinstance(slot, Strip):
            steps = f"for (int32_t step = 0; step < {slot.steps}; step++)"
            made = " ".join(f"{symbol}(bytes, step);" for symbol in symbols)
            calls.append(f"    hide();{shown} {steps} {{ {made} }}")
            prototypes += [f"void {symbol}(uint8_t *arena, int32_t step);" for symbol in symbols]
        else:
            calls.append(f"    hide();{shown} {symbols[0]}(bytes);")
            prototypes.append(f"void {symbols[0]}(uint8_t *arena);")
    return PROGRAM.format(
        name=library.name,
        macro=library.name.upper(),
        prototypes="\n".join(prototypes),
        selftest=f"result = {library.name}_selftest(arena);" if emission.golden else "",
        calls="\n".join(calls),
    )


def _regions(emission: Emission, slot: Slot) -> list[tuple[int, int]]:
    """Where in the arena a call or a strip may read or write: (offset, bytes)."""
    owners = [*slot.reads, *slot.writes, *(scratch for scratch in slot.scratches if scratch.bytes)]
    return [(emission.plan.offset(owner), owner.bytes) for owner in owners]
