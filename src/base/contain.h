// Turns exceptions into Errors.
//
// lamina's own code throws nothing, but the standard library does: std::bad_alloc from any
// allocation, std::system_error when a thread cannot be started. Each public function, each thread
// and each callback from a C library runs its body inside contain(), so an exception fails that
// operation only. Destructors clean up, as after any other error.
#pragma once

#include <exception>
#include <expected>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lamina/result.h"

namespace lamina {

/// The Error for the exception that is being handled: "out of memory" for std::bad_alloc, the text
/// of the error code for std::system_error. The message begins with "WHAT: " if there is memory
/// for it; running out of memory here is not an error. REQUIRES: called in a catch clause.
Error error_of_exception(std::string_view what) noexcept;

/// Runs `operation`, which returns a Result. An exception becomes an error whose message begins
/// with `what`, the name of the operation.
template <typename Operation>
std::invoke_result_t<Operation> contain(std::string_view what, Operation&& operation) noexcept {
  try {
    return std::forward<Operation>(operation)();
  } catch (...) {
    return std::unexpected(error_of_exception(what));
  }
}

}  // namespace lamina
