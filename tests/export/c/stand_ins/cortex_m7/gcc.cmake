# arm-none-eabi-gcc, newlib with semihosting, and QEMU's board with a Cortex-M7.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-m7 -mthumb -Wall -Wextra -Wpedantic -Werror")
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "--specs=rdimon.specs -Wl,--gc-sections -T ${CMAKE_CURRENT_LIST_DIR}/memory.ld ${CMAKE_CURRENT_LIST_DIR}/vectors.c")
find_program(QEMU qemu-system-arm)
if(QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR
        ${QEMU} -M mps2-an500 -nographic -monitor none -serial none -semihosting-config enable=on,target=native -kernel)
endif()
