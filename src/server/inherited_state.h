// What a process leaves to a program that takes its place: its descriptors, for a newer binary.
//
// The descriptors stay open over exec(2); a list of them, in memory, goes along. Its descriptor's
// number is in the environment. Before that the newer binary is tried: a child executes it with
// copies of the descriptors, opens all that it would serve, and ends.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "server/listener.h"
#include "server/log_file.h"
#include "server/state_directory.h"
#include "server/store_place.h"
#include "server/vm.h"

namespace lamina::server {

/// What a process has got from the one whose place it takes.
struct InheritedState {
  StateDirectory states;
  std::optional<StorePlace> store;  ///< nothing when no store is served
  LogFile log;
  std::vector<Listener> listening;
  Listener control;                      ///< invalid when there is none
  Listener metrics;                      ///< the same
  os::Fd store_lock;                     ///< invalid when no store is served
  pid_t worker = -1;                     ///< a child that still serves; -1: none
  bool stopping = false;                 ///< no VM is accepted any more
  bool is_trial = false;                 ///< all belongs to the parent, which only asks
  std::vector<std::unique_ptr<Vm>> vms;  ///< what they are served is not set
};

/// What is passed on; it all belongs to the caller.
struct StateToLeave {
  const StateDirectory& states;
  const StorePlace* store = nullptr;
  const LogFile& log;
  std::vector<const Listener*> listening;
  const Listener* control = nullptr;
  const Listener* metrics = nullptr;
  int store_lock = -1;
  pid_t worker = -1;
  bool stopping = false;
  std::vector<const Vm*> vms;
};

enum class Purpose : std::uint8_t { kSucceed, kTry };

/// Replaces this process by the program `command`. Returns only on failure; then all is as before.
Error exec_successor(const std::vector<std::string>& command, const StateToLeave& left,
                     Purpose purpose);

/// What this process has inherited, if it has.
Result<std::optional<InheritedState>> take_inherited_state();

}  // namespace lamina::server
