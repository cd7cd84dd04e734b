# Toolchain for aarch64: Debian's cross compiler, and the libraries in LAMINA_SYSROOT
# (tools/test-aarch64 makes one). What is built runs under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(LAMINA_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../.cache/sysroot-arm64 CACHE PATH
    "root of an arm64 Debian with the libraries that lamina needs")
get_filename_component(LAMINA_SYSROOT ${LAMINA_SYSROOT} ABSOLUTE)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LAMINA_SYSROOT)

set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_SYSROOT ${LAMINA_SYSROOT})
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${LAMINA_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${LAMINA_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR}
    ${LAMINA_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${LAMINA_SYSROOT}/usr/share/pkgconfig)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static;-L;${LAMINA_SYSROOT})
