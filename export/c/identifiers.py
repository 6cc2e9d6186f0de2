"""Names from model files as C: identifiers that are valid, unique and no keywords, and comments that stay comments."""

import re
import unicodedata

_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof and asm bool catch class constexpr delete explicit export false friend main mutable namespace new
    not nullptr operator or private protected public static_assert template this throw true try typeid typename
    typeof using virtual wchar_t xor
"""
KEYWORDS = frozenset(_KEYWORDS.split())  # of C, and of C++ and later C, where the header may be included
_HEADERS = """
    assert complex ctype errno fenv inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar
    wctype markers
"""
HEADERS = frozenset(_HEADERS.split())  # whose files NAME.h would hide from those that include them
LONGEST = 40  # characters: what NAME_layer_123_params adds still fits the 63 that C99 tells apart


def c_identifier(name: str, fallback: str = "model") -> str:
    """A lower-case C identifier that resembles `name`, e.g. "MobileNet v2 (0.35)" becomes mobilenet_v2_0_35.

    It never begins with a digit, an underscore, nd_ (the kernels' prefix) or arduino (reserved in Arduino's libraries),
    and is no keyword and no header's name.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    identifier = re.sub(r"[^a-z0-9]+", "_", ascii_name.lower()).strip("_")[:LONGEST].strip("_")
    if not identifier:
        return fallback
    taken = identifier in KEYWORDS | HEADERS or identifier.split("_")[0] in ("nd", "ndtool", "arduino")
    if taken or identifier[0].isdigit():
        return f"{fallback}_{identifier}"[:LONGEST].strip("_")
    return identifier


def unique(names: list[str]) -> list[str]:
    """The names in their order, repeated ones numbered: a, a_2, a_3."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        result.append(candidate)
    return result


def c_comment(text: str, longest: int = 100) -> str:
    """Text that may stand in a C comment: printable ASCII, neither an end of comment, a trigraph nor a line splice."""
    kept = re.sub(r"\?+", "?", re.sub(r"[^ -~]", "?", text))
    kept = kept.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")
    return kept if len(kept) <= longest else kept[: longest - 3] + "..."
