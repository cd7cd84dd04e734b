// Answers of requests that failed.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/error.h"
#include "object_store/object_store.h"

namespace lamina::object_store {

/// The kind of error that an outcome is, where nothing more is known.
constexpr ErrorKind kind_of_outcome(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAbsent:
      return ErrorKind::kNotFound;
    case Outcome::kExists:
      return ErrorKind::kExists;
    case Outcome::kDenied:
      return ErrorKind::kPermission;
    case Outcome::kCorrupt:
      return ErrorKind::kCorrupt;
    default:
      return ErrorKind::kFailed;
  }
}

/// A failed answer whose error has the outcome's kind.
inline Answer failed_answer(Outcome outcome, std::string message, std::string remedy = {}) {
  Answer answer;
  answer.outcome = outcome;
  answer.error = Error{
      .kind = kind_of_outcome(outcome), .message = std::move(message), .remedy = std::move(remedy)};
  answer.may_have_happened = outcome == Outcome::kUnknown;
  return answer;
}

/// A failed answer with that error.
inline Answer failed_answer(Outcome outcome, Error error) {
  Answer answer;
  answer.outcome = outcome;
  answer.error = std::move(error);
  answer.may_have_happened = outcome == Outcome::kUnknown;
  return answer;
}

}  // namespace lamina::object_store
