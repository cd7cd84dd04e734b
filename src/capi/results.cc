#include "capi/results.h"

#include <mutex>
#include <unordered_map>

namespace lamina::capi {
namespace {

struct Results {
  std::mutex mutex;
  std::unordered_map<const void*, std::shared_ptr<Held>> held;
};

// Never destroyed: a program may free results in its last destructors.
Results& results() {
  static auto& made = *new Results;
  return made;
}

constexpr lamina_error kOutOfMemory = {.struct_size = sizeof(lamina_error),
                                       .code = LAMINA_FAILED,
                                       .error_number = 0,
                                       .message = "out of memory",
                                       .remedy = "",
                                       .notes = nullptr,
                                       .note_count = 0};

}  // namespace

void keep(const void* address, std::shared_ptr<Held> held) {
  const std::scoped_lock lock(results().mutex);
  results().held[address] = std::move(held);
}

std::shared_ptr<Held> kept(const void* address) {
  const std::scoped_lock lock(results().mutex);
  const auto found = results().held.find(address);
  return found == results().held.end() ? nullptr : found->second;
}

lamina_code code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailed:
      return LAMINA_FAILED;
    case ErrorKind::kUsage:
      return LAMINA_USAGE;
    case ErrorKind::kNotFound:
      return LAMINA_NOT_FOUND;
    case ErrorKind::kExists:
      return LAMINA_EXISTS;
    case ErrorKind::kPermission:
      return LAMINA_PERMISSION;
    case ErrorKind::kUnsupported:
      return LAMINA_UNSUPPORTED;
    case ErrorKind::kCorrupt:
      return LAMINA_CORRUPT;
    case ErrorKind::kBusy:
      return LAMINA_BUSY;
    case ErrorKind::kNoSpace:
      return LAMINA_NO_SPACE;
    case ErrorKind::kInterrupted:
      return LAMINA_INTERRUPTED;
  }
  return LAMINA_FAILED;
}

void describe(Arena& arena, const Error& error, lamina_error& described) {
  const auto& [kind, message, notes, error_number, remedy] = error;
  described.struct_size = sizeof described;
  described.code = code_of(kind);
  described.error_number = error_number;
  described.message = message.c_str();
  described.remedy = remedy.c_str();
  described.notes = arena.lines(notes);
  described.note_count = notes.size();
}

lamina_code report_error(Error error, const lamina_error** out) noexcept {
  const lamina_code code = code_of(error.kind);
  if (out == nullptr) return code;
  try {
    *out = hold<lamina_error>(std::move(error));
  } catch (...) {
    *out = &kOutOfMemory;
  }
  return code;
}

}  // namespace lamina::capi

void lamina_free(const void* result) {
  using lamina::capi::results;
  if (result == nullptr) return;
  std::shared_ptr<lamina::capi::Held> freed;  // destroyed without the lock
  const std::scoped_lock lock(results().mutex);
  const auto found = results().held.find(result);
  if (found == results().held.end()) return;
  freed = std::move(found->second);
  results().held.erase(found);
}
