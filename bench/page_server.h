// The real page server, `lamina serve`, as a process of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lamina/result.h"

namespace lamina::bench {

class PageServer {
 public:
  /// Starts it for a snapshot; returns when its socket is there.
  static Result<std::unique_ptr<PageServer>> start(const std::string& snapshot);

  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;
  PageServer(PageServer&&) = delete;
  PageServer& operator=(PageServer&&) = delete;
  /// Stops it. Its guests should have ended.
  ~PageServer();

  [[nodiscard]] const std::string& socket() const { return socket_; }

  /// Private memory of all of its processes (shared pages in proportion) and what its state takes
  /// on tmpfs.
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  PageServer() = default;

  pid_t process_ = -1;
  std::string socket_;
  std::string state_directory_;
};

}  // namespace lamina::bench
