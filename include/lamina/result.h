// What can fail returns Result<T>: a value or an Error that names the object, the value and, where
// there is one, the remedy. Exceptions do not cross this interface.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <utility>
#include <vector>

#include "lamina/words.h"

namespace lamina {

/// What kind of failure an Error is; the command line maps each to an exit code.
enum class ErrorKind : std::uint8_t {
  kFailed,       ///< anything that no other kind describes (exit 1)
  kUsage,        ///< the caller asked for something that makes no sense (exit 2)
  kNotFound,     ///< a named file, directory or layer does not exist (exit 3)
  kCorrupt,      ///< stored bytes are not what was stored, or not of a known format (exit 4)
  kBusy,         ///< another process holds the lock (exit 5)
  kNoSpace,      ///< the file system is full or a quota is used up (exit 6)
  kInterrupted,  ///< the caller's Progress asked to stop (exit 130)
};

template <>
inline constexpr std::array kWords<ErrorKind> = {
    Word<ErrorKind>{"failed", ErrorKind::kFailed},
    Word<ErrorKind>{"usage", ErrorKind::kUsage},
    Word<ErrorKind>{"not_found", ErrorKind::kNotFound},
    Word<ErrorKind>{"corrupt", ErrorKind::kCorrupt},
    Word<ErrorKind>{"busy", ErrorKind::kBusy},
    Word<ErrorKind>{"no_space", ErrorKind::kNoSpace},
    Word<ErrorKind>{"interrupted", ErrorKind::kInterrupted}};

/// A failure. `message` is one line, lower case, without a final full stop; `notes` are things that
/// were done before it and that a person should know, one line each; `error_number` is the errno of
/// the system call that failed, 0 when none did.
struct [[nodiscard]] Error {
  ErrorKind kind = ErrorKind::kFailed;
  std::string message;
  // The initializers let Error{kind, message} be written without a warning.
  std::vector<std::string> notes{};  // NOLINT(readability-redundant-member-init)
  int error_number = 0;
};

/// A `T`, or the Error that kept it from being made.
template <typename T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

/// Success, or an Error.
using Status = Result<void>;

}  // namespace lamina

// Exceptions do not cross this interface: when memory runs out (std::bad_alloc) or a thread cannot
// be started (std::system_error), the operation fails like any other (kFailed, "out of memory"),
// and a retry may succeed. A string or vector that is returned without a Result
// (page_server_socket(), lineage_of()) may throw std::bad_alloc.
