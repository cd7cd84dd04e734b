# Writes OUTPUT from INPUT, with the VERSION and the commit of SOURCE; leaves it when it is right.
# The commit is git's; of a tarball that 'git archive' has made it is in cmake/commit.txt, which git
# fills in there; else there is none.
file(STRINGS ${SOURCE}/cmake/commit.txt COMMIT LIMIT_COUNT 1)
if(COMMIT MATCHES "^[0-9a-f]+$")
  string(SUBSTRING ${COMMIT} 0 12 COMMIT)
else()
  set(COMMIT "")
endif()
find_program(GIT git)
# A tarball may be unpacked in somebody else's repository.
if(GIT AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT} describe --always --abbrev=12 --exclude=* --dirty
                  WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE described RESULT_VARIABLE code
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(code EQUAL 0)
    set(COMMIT ${described})
  endif()
endif()
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)\\.([0-9]+)$" parts ${VERSION})
set(MAJOR ${CMAKE_MATCH_1})
set(MINOR ${CMAKE_MATCH_2})
set(PATCH ${CMAKE_MATCH_3})
set(TEXT ${VERSION})
if(COMMIT)
  string(APPEND TEXT " (git ${COMMIT})")
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
