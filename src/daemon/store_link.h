#pragma once

#include <memory>
#include <string>
#include <utility>

#include "os/fd.h"

namespace lamina::daemon {

/// The link in the store that leads to our socket (daemon_socket()), so that the command line finds
/// who keeps the store. It is a help and no lock: one that is left by a daemon that was killed
/// leads nowhere, and without one the command line works by itself.
class StoreLink {
 public:
  /// Makes the link, in the place of whatever has its name. Logs a warning and returns nothing when
  /// that is not possible.
  ///
  /// REQUIRES: the lock of the store's daemon is held; `listen` is our socket.
  static std::unique_ptr<StoreLink> make(const std::string& store, const std::string& listen);

  StoreLink(const StoreLink&) = delete;
  StoreLink& operator=(const StoreLink&) = delete;
  StoreLink(StoreLink&&) = delete;
  StoreLink& operator=(StoreLink&&) = delete;
  /// Removes the link if it is still ours.
  ~StoreLink();

 private:
  StoreLink(os::Fd area, std::string path, std::string target)
      : area_(std::move(area)), path_(std::move(path)), target_(std::move(target)) {}

  os::Fd area_;  ///< the directory that the link is in
  std::string path_;
  std::string target_;
};

}  // namespace lamina::daemon
