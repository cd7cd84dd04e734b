#include "base/error.h"

#include <cctype>
#include <cerrno>
#include <cstring>
#include <string>

namespace lamina {
namespace {

ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorKind::kNotFound;
    case EEXIST:
      return ErrorKind::kExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorKind::kPermission;
    case ENOSPC:
    case EDQUOT:
      return ErrorKind::kNoSpace;
    default:
      return ErrorKind::kFailed;
  }
}

}  // namespace

Error system_error(std::string_view call, std::string_view object, int error_number) {
  std::string reason = std::strerror(error_number);  // glibc's is thread-safe for known errors
  if (!reason.empty()) {
    reason.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(reason.front())));
  }
  return Error{
      kind_of(error_number), fmt::format("{} '{}': {}", call, object, reason), {}, error_number};
}

std::unexpected<Error> system_failure(std::string_view call, std::string_view object,
                                      int error_number) {
  return std::unexpected(system_error(call, object, error_number));
}

Error with_context(std::string_view context, Error error) {
  error.message = fmt::format("{}: {}", context, error.message);
  return error;
}

std::unexpected<Error> of_kind(ErrorKind kind, std::unexpected<Error> failure) {
  failure.error().kind = kind;
  return failure;
}

std::string one_line(const Error& error) {
  return error.remedy.empty() ? error.message : error.message + "; " + error.remedy;
}

}  // namespace lamina
