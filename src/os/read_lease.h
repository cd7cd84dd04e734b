// Uses a read lease to find out whether another process can still write a file.
//
// A read lease (fcntl(2), F_SETLEASE) is granted only if no open file description can write the
// file; a writable shared mapping keeps the description that it was created with. Modification
// times do not help: stores to a mapping update them late, and a VMM may set them.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

enum class Writers : std::uint8_t {
  kNone,     ///< no process could write the file when the lease was granted
  kSome,     ///< the file is open or mapped for writing
  kUnknown,  ///< not supported by the file system, or not permitted
};

/// A read lease on an open file, released on destruction. While it is held, a process that opens
/// the file for writing or truncates it waits up to /proc/sys/fs/lease-break-time seconds.
class ReadLease {
 public:
  /// Requests a lease on `fd`, which must be read-only and outlive this object. Never waits.
  explicit ReadLease(int fd);
  ReadLease(const ReadLease&) = delete;
  ReadLease& operator=(const ReadLease&) = delete;
  ReadLease(ReadLease&&) = delete;
  ReadLease& operator=(ReadLease&&) = delete;
  ~ReadLease();

  /// The state when the lease was requested.
  [[nodiscard]] Writers writers() const { return writers_; }

  /// False if a process has since tried to write the file, and may have done so by now.
  [[nodiscard]] bool is_held() const;

 private:
  int fd_;
  Writers writers_ = Writers::kUnknown;
  bool has_lease_ = false;
};

/// The same without keeping the lease, for a file that no other process can open any more.
Writers writers_of(int fd);

/// kBusy, with a remedy, if `writers` is kSome.
Status refuse_writers(Writers writers, const std::string& object);

}  // namespace lamina::os
