# zig's clang without a libc: for libraries. PYTHON is given.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER $ENV{PYTHON} -m ziglang cc -target thumb-freestanding-eabi -mcpu=cortex_m7)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "-ffreestanding -Wall -Wextra -Wpedantic -Werror")
