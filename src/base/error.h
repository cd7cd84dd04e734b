// Helpers that create and propagate Errors.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string_view>
#include <utility>

#include "lamina/result.h"

namespace lamina {

/// An Error of `kind` whose message is formatted from `format` and `args`.
template <typename... Args>
std::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{kind, fmt::format(format, std::forward<Args>(args)...)});
}

/// The Error for a failed system call: "fsync '/s/42': no space left on device". Its kind follows
/// from errors that mean the same in every call: ENOENT and ENOTDIR are kNotFound; EEXIST is
/// kExists; EACCES, EPERM and EROFS are kPermission; ENOSPC and EDQUOT are kNoSpace. All others are
/// kFailed: the caller sets the kind where it knows more.
Error system_error(std::string_view call, std::string_view object, int error_number);

/// The same, ready to be returned from a function that returns a Result.
std::unexpected<Error> system_failure(std::string_view call, std::string_view object,
                                      int error_number);

/// `error` with "context: " in front of its message; all else is unchanged.
Error with_context(std::string_view context, Error error);

/// `failure` with a remedy (Error::remedy) formatted from `format` and `args`. If it has one
/// already, this one follows it: "start one: lamina serve --store /s; then …".
template <typename... Args>
std::unexpected<Error> with_remedy(std::unexpected<Error> failure,
                                   fmt::format_string<Args...> format, Args&&... args) {
  std::string& remedy = failure.error().remedy;
  if (!remedy.empty()) remedy += "; then ";
  remedy += fmt::format(format, std::forward<Args>(args)...);
  return failure;
}

/// `failure` of another kind.
std::unexpected<Error> of_kind(ErrorKind kind, std::unexpected<Error> failure);

/// "message; remedy", or the message alone: for logs, notes, and the messages of other errors.
std::string one_line(const Error& error);

/// `report` if `done` is success. Otherwise the error of `done` with the report's notes, so that
/// notes about work done before the failure are not lost.
template <typename Report>
Result<Report> report_or_error(const Status& done, Report& report) {
  if (done) return std::move(report);
  Error error = done.error();
  error.notes = std::move(report.notes);
  return std::unexpected(std::move(error));
}

}  // namespace lamina

// NOLINTBEGIN(cppcoreguidelines-macro-usage): a return from the caller cannot be a function.

/// Returns the error of `expression` from the enclosing function, if it has one.
#define LAMINA_RETURN_IF_ERROR(expression)                            \
  do {                                                                \
    if (auto lamina_status = (expression); !lamina_status)            \
      return std::unexpected<::lamina::Error>(lamina_status.error()); \
  } while (false)

#define LAMINA_CONCAT_INNER(a, b) a##b
#define LAMINA_CONCAT(a, b) LAMINA_CONCAT_INNER(a, b)
#define LAMINA_ASSIGN_OR_RETURN_INNER(result, declaration, expression)             \
  auto result = (expression);                                                      \
  if (!result) return std::unexpected<::lamina::Error>(std::move(result.error())); \
  declaration = std::move(*result)

/// `declaration = value of expression`; returns the error from the enclosing function if there is
/// one.
#define LAMINA_ASSIGN_OR_RETURN(declaration, expression) \
  LAMINA_ASSIGN_OR_RETURN_INNER(LAMINA_CONCAT(lamina_result_, __LINE__), declaration, expression)

// NOLINTEND(cppcoreguidelines-macro-usage)
