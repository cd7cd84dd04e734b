// A process in the place of another, with its descriptors: for a newer binary, and for a serving
// process whose supervisor was killed and that becomes one itself.
//
// The descriptors stay open over exec(2); a list of them, in memory, goes along. Its descriptor's
// number is in the environment.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "server/served_vms.h"
#include "server/state_directory.h"
#include "sys/fd.h"

namespace lamina::server {

/// What a process leaves to the one in its place.
struct Estate {
  std::vector<sys::Fd> listening;
  sys::Fd metrics;                       ///< its listening socket; invalid when there is none
  sys::Fd store_lock;                    ///< invalid when no store is served
  pid_t worker = -1;                     ///< a child that still serves; -1: none
  bool stopping = false;                 ///< nobody is accepted any more
  std::vector<std::unique_ptr<Vm>> vms;  ///< what they are served is not set
};

/// The descriptors that are passed on; they belong to the caller.
struct EstateDescriptors {
  std::vector<int> listening;
  int metrics = -1;
  int store_lock = -1;
  pid_t worker = -1;
  bool stopping = false;
};

/// Replaces this process by `program`, with the arguments `command`. Returns only on failure; then
/// all is as before.
Error exec_successor(const std::string& program, const std::vector<std::string>& command,
                     const EstateDescriptors& estate, const Vms& vms);

/// What this process was left, if it was.
Result<std::optional<Estate>> take_estate(const StateDirectory& states);

}  // namespace lamina::server
