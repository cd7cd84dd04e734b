// A function that can fail returns Result<T>: a value or an Error. It throws nothing: if memory
// runs out (std::bad_alloc) or a thread cannot be started (std::system_error), the operation fails
// like any other (kFailed, "out of memory"), and a retry may succeed. An exception of a callback
// becomes an error of the operation too.
//
// One exception: if not a single allocation succeeds any more, std::terminate() may end the
// process, because a destructor of the JSON library allocates.
//
// What can throw std::bad_alloc: functions that return a string or vector without a Result
// (Store::path_of(), PageServer::metrics(), page_server_socket(), lineage_of(), …), and copies that
// the caller makes, of options, reports and Errors.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <utility>
#include <vector>

#include "lamina/words.h"

namespace lamina {

/// What kind of failure an Error is: what a program can decide by. The command line maps each to an
/// exit code.
///
/// Any function may fail with kFailed, kPermission or kNoSpace. For the other kinds its comment
/// says when, and programs can rely on that. Later versions may add kinds: treat an unknown one as
/// kFailed.
///
/// Retry kBusy, unchanged, after some milliseconds: what was in the way passes by itself. (A
/// function whose kBusy lasts longer says so.) Retry kNoSpace when there is space, and kInterrupted
/// when you like. Of kFailed, errors of resources (memory, threads, descriptors, I/O) may pass. The
/// others come back until somebody changes something: the remedy, if there is one, says what. What
/// a failure leaves behind is said at each function; where nothing is said, nothing has changed.
enum class ErrorKind : std::uint8_t {
  kFailed,       ///< anything that no other kind describes (exit 1)
  kUsage,        ///< the caller asked for something that makes no sense (exit 2)
  kNotFound,     ///< a named file, directory, socket or layer does not exist (exit 3)
  kExists,       ///< the name is taken and may not be replaced (exit 1)
  kPermission,   ///< this process may not do it: EACCES, EPERM, EROFS (exit 1)
  kUnsupported,  ///< this file system, kernel, VMM version or file cannot do it (exit 1)
  kCorrupt,      ///< stored bytes are not what was stored, or not of a known format (exit 4)
  kBusy,         ///< another thread or process works on it at the moment (exit 5)
  kNoSpace,      ///< the file system is full or a quota is used up (exit 6)
  kInterrupted,  ///< the caller's Progress asked to stop (exit 130)
};

template <>
inline constexpr std::array kWords<ErrorKind> = {
    Word<ErrorKind>{"failed", ErrorKind::kFailed},
    Word<ErrorKind>{"usage", ErrorKind::kUsage},
    Word<ErrorKind>{"not_found", ErrorKind::kNotFound},
    Word<ErrorKind>{"exists", ErrorKind::kExists},
    Word<ErrorKind>{"permission", ErrorKind::kPermission},
    Word<ErrorKind>{"unsupported", ErrorKind::kUnsupported},
    Word<ErrorKind>{"corrupt", ErrorKind::kCorrupt},
    Word<ErrorKind>{"busy", ErrorKind::kBusy},
    Word<ErrorKind>{"no_space", ErrorKind::kNoSpace},
    Word<ErrorKind>{"interrupted", ErrorKind::kInterrupted}};

/// A failure. Its texts are single lines, lower case, without a final full stop. They are for a
/// person: programs decide by `kind`, and texts may change with each version. They, and notes, can
/// contain names and texts of other processes as they are: escape control characters before they go
/// to a terminal or a log.
struct [[nodiscard]] Error {
  ErrorKind kind = ErrorKind::kFailed;
  /// What failed, on which object, with which value: "header '/s/a/memfile.header': bad magic".
  std::string message;
  /// What was done before the failure and a person should know, one line each: the `notes` that the
  /// report would have had. Options are named as in `remedy`.
  std::vector<std::string> notes{};
  /// The errno of the system call that failed; 0 if none did.
  int error_number = 0;
  /// What the caller can do about it, "" if nothing is known. It names an option as the Options
  /// structs do, in backquotes, with the value to set (a word of lamina/words.h) if it is not a
  /// flag: "set `replace`", "set `layout=compact`"; and a command to run as a shell takes it: "run:
  /// lamina repair /s/a".
  std::string remedy{};
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
