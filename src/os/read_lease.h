// Whether somebody else can still write a file: asked of the kernel by a read lease.
//
// A read lease (fcntl(2), F_SETLEASE) is granted only while no open file description anywhere can
// write the file; a shared mapping that can be written keeps the description that it was made with.
// Modification times say nothing: stores to a mapping change them late, and a VMM may set them.
#pragma once

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

enum class Writers : std::uint8_t {
  kNone,     ///< nobody could write the file when the lease was granted
  kSome,     ///< it is open for writing, or mapped so
  kUnknown,  ///< the file system, or this process' rights, do not tell
};

/// A lease on an open file, given back at the end of its life. While it is held, whoever opens the
/// file for writing or truncates it waits, for /proc/sys/fs/lease-break-time seconds at most.
class ReadLease {
 public:
  /// Asks for a lease on `fd`, which must be open for reading only and outlive this. Never waits.
  explicit ReadLease(int fd);
  ReadLease(const ReadLease&) = delete;
  ReadLease& operator=(const ReadLease&) = delete;
  ReadLease(ReadLease&&) = delete;
  ReadLease& operator=(ReadLease&&) = delete;
  ~ReadLease();

  /// As it was when the lease was asked for.
  [[nodiscard]] Writers writers() const { return writers_; }

  /// False when somebody has wanted to write the file since, and may have by now.
  [[nodiscard]] bool is_held() const;

 private:
  int fd_;
  Writers writers_ = Writers::kUnknown;
  bool has_lease_ = false;
};

/// The same without keeping the lease: for a file that nobody else can open any more.
Writers writers_of(int fd);

/// kBusy unless `writers` is not kSome: names the file and what to do.
Status refuse_writers(Writers writers, const std::string& object);

}  // namespace lamina::os
