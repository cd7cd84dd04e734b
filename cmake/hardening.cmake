# What makes memory errors harder to exploit. All of it is tried, and left out where the compiler or
# the machine does not know it. The sanitizers find such errors themselves, and replace the functions
# that _FORTIFY_SOURCE would call.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C CXX)
if(NOT LAMINA_HARDENING OR LAMINA_SANITIZE)
  return()
endif()

include(CheckCXXCompilerFlag)
foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection=full
             -mbranch-protection=standard)
  string(MAKE_C_IDENTIFIER "LAMINA_HAVE${flag}" known)
  check_cxx_compiler_flag(${flag} ${known})
  if(${known})
    target_compile_options(lamina_options INTERFACE ${flag})
  endif()
endforeach()
# Needs the optimizer; distributions' compilers and flags may have set another level.
target_compile_options(lamina_options INTERFACE
  "$<$<NOT:$<CONFIG:Debug>>:SHELL:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>")
target_link_options(lamina_options INTERFACE -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
