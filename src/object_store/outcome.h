// What is asked of an object store, and how a request ends.
#pragma once

#include <array>
#include <cstdint>

#include "lamina/words.h"

namespace lamina::object_store {

/// How a request ended.
enum class Outcome : std::uint8_t {
  kDone,
  /// The store answered that there is no object of that key. No other failure is reported as this.
  kAbsent,
  /// Nothing was written, because an object of that key exists (Condition::kIfAbsent).
  kExists,
  /// The credentials are missing, wrong, expired, or do not permit it.
  kDenied,
  /// The server is unreachable, overloaded or failed, or the connection broke. A repetition may
  /// succeed. Says nothing about the object; see also Answer::may_have_happened.
  kUnavailable,
  /// A write was sent, and the connection broke, or time ran out, before its answer: it may have
  /// been carried out, or may still be.
  kUnknown,
  /// The bytes are not those that were stored or sent: wrong length, wrong digest, an answer that
  /// makes no sense.
  kCorrupt,
  /// The store will not do it, now or later: no such bucket, another region, no space, an invalid
  /// key. The error's kind says more.
  kRefused,
};

enum class Operation : std::uint8_t {
  kGet,
  kPut,
  kHead,
  kRemove,
  kList,
  kBeginUpload,
  kUploadPart,
  kCompleteUpload,
  kAbortUpload,
  /// Uploads that were begun, and neither completed nor aborted.
  kListUploads,
};

/// True if requests of this operation change the store.
constexpr bool is_write(Operation operation) {
  return operation != Operation::kGet && operation != Operation::kHead &&
         operation != Operation::kList && operation != Operation::kListUploads;
}

}  // namespace lamina::object_store

namespace lamina {

template <>
inline constexpr std::array kWords<object_store::Outcome> = {
    Word<object_store::Outcome>{"done", object_store::Outcome::kDone},
    Word<object_store::Outcome>{"absent", object_store::Outcome::kAbsent},
    Word<object_store::Outcome>{"exists", object_store::Outcome::kExists},
    Word<object_store::Outcome>{"denied", object_store::Outcome::kDenied},
    Word<object_store::Outcome>{"unavailable", object_store::Outcome::kUnavailable},
    Word<object_store::Outcome>{"unknown", object_store::Outcome::kUnknown},
    Word<object_store::Outcome>{"corrupt", object_store::Outcome::kCorrupt},
    Word<object_store::Outcome>{"refused", object_store::Outcome::kRefused}};

template <>
inline constexpr std::array kWords<object_store::Operation> = {
    Word<object_store::Operation>{"get", object_store::Operation::kGet},
    Word<object_store::Operation>{"put", object_store::Operation::kPut},
    Word<object_store::Operation>{"head", object_store::Operation::kHead},
    Word<object_store::Operation>{"remove", object_store::Operation::kRemove},
    Word<object_store::Operation>{"list", object_store::Operation::kList},
    Word<object_store::Operation>{"begin upload of", object_store::Operation::kBeginUpload},
    Word<object_store::Operation>{"upload part of", object_store::Operation::kUploadPart},
    Word<object_store::Operation>{"complete upload of", object_store::Operation::kCompleteUpload},
    Word<object_store::Operation>{"abort upload of", object_store::Operation::kAbortUpload},
    Word<object_store::Operation>{"list uploads of", object_store::Operation::kListUploads}};

}  // namespace lamina
