# What 'cmake --install' puts in place, by component: the programs, the shared library, and what a
# program that embeds the library is built with.
include(CMakePackageConfigHelpers)
set(LAMINA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/lamina)

install(TARGETS lamina_cli laminad RUNTIME COMPONENT programs)

# The shared library, or where there is none the static one, is lamina::lamina. Each has its own file
# of targets: what uses the shared one needs nothing else.
install(TARGETS lamina_static EXPORT lamina_static ARCHIVE COMPONENT development)
install(EXPORT lamina_static NAMESPACE lamina:: FILE lamina-static.cmake
        DESTINATION ${LAMINA_CMAKE_DIR} COMPONENT development)
if(BUILD_SHARED_LIBS)
  install(TARGETS lamina_shared EXPORT lamina_shared
          LIBRARY COMPONENT library NAMELINK_COMPONENT development)
  install(EXPORT lamina_shared NAMESPACE lamina:: FILE lamina-shared.cmake
          DESTINATION ${LAMINA_CMAKE_DIR} COMPONENT development)
endif()
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
        FILES_MATCHING PATTERN "*.h")
# Go programs use them by a 'replace' of module lamina/go (docs/embedding.md).
install(DIRECTORY bindings/go/ DESTINATION ${CMAKE_INSTALL_DATADIR}/lamina/go COMPONENT development
        FILES_MATCHING PATTERN "*.go" PATTERN go.mod PATTERN go.sum
        PATTERN "*_test.go" EXCLUDE PATTERN testdata EXCLUDE PATTERN livetest EXCLUDE)
# The sources of the Python package, for pip, and of the Rust crates, for a dependency by path. Both
# are built without a network.
install(FILES bindings/python/pyproject.toml bindings/python/build_backend.py
              bindings/python/README.md
        DESTINATION ${CMAKE_INSTALL_DATADIR}/lamina/python COMPONENT development)
install(DIRECTORY bindings/python/lamina DESTINATION ${CMAKE_INSTALL_DATADIR}/lamina/python
        COMPONENT development FILES_MATCHING PATTERN "*.py" PATTERN py.typed
        PATTERN __pycache__ EXCLUDE)
install(FILES bindings/rust/Cargo.toml DESTINATION ${CMAKE_INSTALL_DATADIR}/lamina/rust
        COMPONENT development)
install(DIRECTORY bindings/rust/lamina-sys bindings/rust/lamina
        DESTINATION ${CMAKE_INSTALL_DATADIR}/lamina/rust COMPONENT development
        FILES_MATCHING PATTERN "*.rs" PATTERN Cargo.toml PATTERN tests EXCLUDE
        PATTERN target EXCLUDE)
install(FILES examples/embed/CMakeLists.txt examples/embed/embed.cc examples/embed/sandbox.cc
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/embed COMPONENT development)
install(DIRECTORY examples/c DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT development)
list(JOIN LAMINA_REMOTE_MODULES " " LAMINA_REMOTE_LIST)
if(LAMINA_REMOTE)
  set(LAMINA_PC_REMOTE " ${LAMINA_REMOTE_LIST}")
endif()
configure_package_config_file(cmake/lamina-config.cmake.in lamina-config.cmake
  INSTALL_DESTINATION ${LAMINA_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
# Before 1.0 each minor version may change the interface.
write_basic_package_version_file(lamina-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/lamina-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/lamina-config-version.cmake
        DESTINATION ${LAMINA_CMAKE_DIR} COMPONENT development)
if(BUILD_SHARED_LIBS)
  set(LAMINA_PC_PRIVATE ".private")
endif()
configure_file(cmake/lamina.pc.in lamina.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/lamina.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)

# The unit and the example configuration name the programs by their paths.
function(lamina_install_with_paths source)  # DESTINATION...
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  get_filename_component(name ${source} NAME)
  file(READ ${source} text)
  string(REPLACE /usr/bin/ ${CMAKE_INSTALL_FULL_BINDIR}/ text "${text}")
  string(REPLACE /etc/ ${CMAKE_INSTALL_FULL_SYSCONFDIR}/ text "${text}")
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${name} CONTENT "${text}")
  foreach(destination ${ARGN})
    install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name} DESTINATION ${destination}
            COMPONENT programs)
  endforeach()
endfunction()
lamina_install_with_paths(contrib/laminad.service lib/systemd/system)
lamina_install_with_paths(docs/laminad.example.json ${CMAKE_INSTALL_DOCDIR}/examples
                          ${CMAKE_INSTALL_DOCDIR}/docs)

install(FILES contrib/grafana-dashboard.json contrib/prometheus-alerts.yml
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples
        COMPONENT programs)
install(DIRECTORY examples/object-cache DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples
        COMPONENT programs)
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs)
# The README links them.
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs
        PATTERN laminad.example.json EXCLUDE)
install(DIRECTORY examples/embed DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT development)
