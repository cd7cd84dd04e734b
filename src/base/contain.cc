#include "base/contain.h"

#include <new>
#include <string>
#include <system_error>

#include "base/error.h"

namespace lamina {
namespace {

Error describe_current_exception() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    // Short enough for the string's inline buffer: no allocation.
    return {ErrorKind::kFailed, "out of memory"};
  } catch (const std::system_error& error) {
    return {ErrorKind::kFailed, error.code().message()};
  } catch (const std::exception& error) {
    return {ErrorKind::kFailed, error.what()};
  } catch (...) {
    return {ErrorKind::kFailed, "unknown exception"};
  }
}

}  // namespace

Error error_of_exception(std::string_view what) noexcept {
  Error error;
  try {
    error = describe_current_exception();
    return with_context(what, error);
  } catch (...) {
    if (!error.message.empty()) return error;
    return {ErrorKind::kFailed, "out of memory"};
  }
}

}  // namespace lamina
