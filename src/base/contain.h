// Where exceptions end.
//
// lamina's own code throws nothing, but what it stands on does: std::bad_alloc from any allocation,
// std::system_error from the start of a thread. Each public function, each thread and each callback
// that a C library calls runs what it does inside contain(): an exception there is a failure of
// that operation and of nothing else. Destructors undo what was half done, as after any other
// error.
#pragma once

#include <exception>
#include <expected>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lamina/result.h"

namespace lamina {

/// The Error for the exception that is being handled: "out of memory" for std::bad_alloc, the
/// system's words for std::system_error; "WHAT: " before it where there is memory for that. Never
/// allocates when there is none. REQUIRES: called in a catch clause.
Error error_of_exception(std::string_view what) noexcept;

/// Runs `operation`, which returns a Result; an exception becomes its error. `what` says in the
/// message what was done.
template <typename Operation>
std::invoke_result_t<Operation> contain(std::string_view what, Operation&& operation) noexcept {
  try {
    return std::forward<Operation>(operation)();
  } catch (...) {
    return std::unexpected(error_of_exception(what));
  }
}

}  // namespace lamina
