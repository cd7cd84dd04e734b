// A process in the place of another, with its descriptors: for a newer binary.
//
// The descriptors stay open over exec(2); a list of them, in memory, goes along. Its descriptor's
// number is in the environment. Before that the newer binary is tried: a child executes it with
// copies of the descriptors, opens all that it would serve, and ends.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "server/log_file.h"
#include "server/served_vms.h"
#include "server/state_directory.h"
#include "server/store_place.h"

namespace lamina::server {

/// What a process leaves to the one in its place.
struct Estate {
  StateDirectory states;
  std::optional<StorePlace> store;  ///< nothing when no store is served
  LogFile log;
  std::vector<os::Fd> listening;
  os::Fd control;                        ///< its listening socket; invalid when there is none
  os::Fd metrics;                        ///< the same
  os::Fd store_lock;                     ///< invalid when no store is served
  pid_t worker = -1;                     ///< a child that still serves; -1: none
  bool stopping = false;                 ///< nobody is accepted any more
  bool is_trial = false;                 ///< all belongs to the parent, which only asks
  std::vector<std::unique_ptr<Vm>> vms;  ///< what they are served is not set
};

/// What is passed on; the descriptors belong to the caller.
struct Bequest {
  const StateDirectory& states;
  const StorePlace* store = nullptr;
  const LogFile& log;
  std::vector<int> listening;
  int control = -1;
  int metrics = -1;
  int store_lock = -1;
  pid_t worker = -1;
  bool stopping = false;
  const Vms& vms;
};

enum class Purpose : std::uint8_t { kSucceed, kTry };

/// Replaces this process by the program `command`. Returns only on failure; then all is as before.
Error exec_successor(const std::vector<std::string>& command, const Bequest& bequest,
                     Purpose purpose);

/// What this process was left, if it was.
Result<std::optional<Estate>> take_estate();

}  // namespace lamina::server
