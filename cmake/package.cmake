# cpack: packages for Debian, each of a component of cmake/install.cmake. They are for the release
# that they are built on; debug symbols are packages of their own (-dbgsym).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME lamina)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "lamina developers <lamina@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
# Programs and shared libraries are stripped when their debug symbols have been put aside; what debug
# information static libraries have nobody could load.
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/strip-archives.cmake)
set(CPACK_LAMINA_STRIP ${CMAKE_STRIP})
set(CPACK_COMPONENTS_ALL programs library development)
if(NOT BUILD_SHARED_LIBS)
  list(REMOVE_ITEM CPACK_COMPONENTS_ALL library)
endif()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})

# 0.2.0-1~deb12, so that an upgrade of Debian replaces it by 0.2.0-1~deb13.
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
if(EXISTS /etc/os-release)
  file(STRINGS /etc/os-release version REGEX "^VERSION_ID=")
  string(REGEX REPLACE "[^0-9.]" "" version "${version}")
  if(version)
    string(APPEND CPACK_DEBIAN_PACKAGE_RELEASE "~deb${version}")
  endif()
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_DEBUGINFO_PACKAGE ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME lamina)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION admin)
set(CPACK_COMPONENT_PROGRAMS_DESCRIPTION
    "Command line and daemon. Stores each memory file that Firecracker writes as a\nthin layer over its parent, merges layers, and gives the memory back by page\nfaults or as a file.")

# Loaded when an S3 store is opened. Debian 13 calls it libcurl4t64.
if(LAMINA_REMOTE)
  set(CPACK_DEBIAN_PROGRAMS_PACKAGE_RECOMMENDS "libcurl4t64 | libcurl4")
  set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "libcurl4t64 | libcurl4")
endif()

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME liblamina${LAMINA_SOVERSION})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION
    "Shared library: what programs that embed lamina need to run.")

set(dependencies "libfmt-dev, libxxhash-dev, uuid-dev")
if(LAMINA_REMOTE)
  string(APPEND dependencies ", libssl-dev, libpugixml-dev, libzstd-dev, liblz4-dev")
endif()
if(BUILD_SHARED_LIBS)
  string(PREPEND dependencies
    "liblamina${LAMINA_SOVERSION} (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}), ")
endif()
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME liblamina-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ${dependencies})
# There is nothing in it to find shared libraries or debug symbols of.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEVELOPMENT_DEBUGINFO_PACKAGE OFF)
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
    "Headers and static library: what programs that embed lamina are built with. CMake\nand pkg-config find it.")

foreach(package lamina liblamina${LAMINA_SOVERSION} liblamina-dev)
  set(component programs)
  if(package STREQUAL "liblamina-dev")
    set(component development)
  elseif(package MATCHES "^lib")
    set(component library)
  endif()
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component}
          RENAME copyright)
endforeach()
include(CPack)
