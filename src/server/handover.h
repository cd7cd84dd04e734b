// What a supervisor hands over to the program that replaces it by exec(2) (SIGHUP): its
// descriptors, and a list of them.
//
// The descriptors stay open over exec(2). The list is in a memory file; an environment variable has
// the number of its descriptor. Before the exec, a trial (trial.h) shows that the program can use
// them.
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

/// What a program has received from its predecessor.
struct InheritedState {
  StateDirectory states;
  std::optional<StorePlace> store;  ///< nullopt if no store is served
  LogFile log;
  std::vector<Listener> listening;
  Listener control;       ///< invalid when there is none
  Listener metrics;       ///< the same
  os::Fd store_lock;      ///< invalid when no store is served
  pid_t worker = -1;      ///< a child that still serves; -1: none
  os::Fd worker_control;  ///< what it says (control_message.h); invalid: not known
  bool stopping = false;  ///< no VM is accepted any more
  bool is_trial = false;  ///< all belongs to the parent, which only asks
  /// With the ids that the worker knows them by; 0: not known. What they are served is not set.
  std::vector<std::unique_ptr<Vm>> vms;
};

/// What is passed on; it all belongs to the caller.
struct HandoverState {
  const StateDirectory& states;
  const StorePlace* store = nullptr;
  const LogFile& log;
  std::vector<const Listener*> listening;
  const Listener* control = nullptr;
  const Listener* metrics = nullptr;
  int store_lock = -1;
  pid_t worker = -1;
  int worker_control = -1;
  bool stopping = false;
  std::vector<const Vm*> vms;
};

enum class Purpose : std::uint8_t { kSucceed, kTry };

/// Replaces this process by the program `command`. Returns only on failure; then all is as before.
Error exec_successor(const std::vector<std::string>& command, const HandoverState& handover,
                     Purpose purpose);

/// The state that this process was started with; nullopt if it is a first start.
Result<std::optional<InheritedState>> take_inherited_state();

}  // namespace lamina::server
