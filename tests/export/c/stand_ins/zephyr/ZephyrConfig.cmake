# Stand-in for Zephyr's build system: a sample and its modules become a program of the host.
project(zephyr LANGUAGES C)
add_executable(app)

file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/prj.conf settings REGEX "=y$")
foreach(setting IN LISTS settings)
    string(REPLACE "=y" "" setting ${setting})
    set(${setting} y)
endforeach()

macro(zephyr_library_named name)
    set(ZEPHYR_CURRENT_LIBRARY ${name})
    add_library(${name} STATIC)
    target_link_libraries(app PRIVATE ${name})
endmacro()

function(zephyr_library_sources)
    target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()

function(zephyr_library_compile_options)
    target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()

function(zephyr_include_directories)
    target_include_directories(app PRIVATE ${ARGN})
endfunction()

foreach(module IN LISTS EXTRA_ZEPHYR_MODULES)
    file(STRINGS ${module}/zephyr/module.yml folder REGEX "^  cmake: ")
    string(REPLACE "  cmake: " "" folder ${folder})
    add_subdirectory(${module}/${folder} modules/${folder})
endforeach()
