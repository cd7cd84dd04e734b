#pragma once

#include <memory>
#include <string>
#include <utility>

#include "os/fd.h"

namespace lamina::daemon {

/// The symbolic link daemon_socket() in the store, which points to the daemon's socket: the command
/// line finds the daemon by it. It is not a lock: the link of a killed daemon stays behind, and
/// without a link the command line does the work itself.
class StoreLink {
 public:
  /// Makes the link; replaces a file of that name. If it fails, it logs a warning and returns null.
  ///
  /// REQUIRES: the caller holds the lock of the store's daemon; `listen` is the daemon's socket.
  static std::unique_ptr<StoreLink> make(const std::string& store, const std::string& listen);

  StoreLink(const StoreLink&) = delete;
  StoreLink& operator=(const StoreLink&) = delete;
  StoreLink(StoreLink&&) = delete;
  StoreLink& operator=(StoreLink&&) = delete;
  /// Removes the link if it still points to this daemon's socket.
  ~StoreLink();

 private:
  StoreLink(os::Fd area, std::string path, std::string target)
      : area_(std::move(area)), path_(std::move(path)), target_(std::move(target)) {}

  os::Fd area_;  ///< directory of the link
  std::string path_;
  std::string target_;
};

}  // namespace lamina::daemon
