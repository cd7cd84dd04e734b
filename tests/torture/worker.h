// The process that works in the mount: it sets scenes up, carries operations out and looks at what
// a power failure has left, by the library, as told over a socket. It is a process of its own so
// that it and the file system's server, which it waits for, do not share a fate: one that dies or
// hangs is a finding, not the end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "aftermath.h"
#include "os/fd.h"
#include "scene.h"

namespace lamina::torture {

enum class Task : std::uint8_t {
  kSetUp,     ///< builds the scene on an empty disk
  kOperate,   ///< carries the operation out
  kLearn,     ///< the operation was done: what it has made is what is expected from now on
  kPowerOff,  ///< what does not outlive a power failure ends
  kCheck,     ///< Aftermath::check()
  kRecover,   ///< Aftermath::recover_once(); the answer's text is "after" or "before"
  kLook,      ///< Aftermath::look() and look_around(); the same text
};

struct Answer {
  bool ok = false;
  std::string text;  ///< what went wrong, or an answer
};

class Worker {
 public:
  /// Forks. REQUIRES: this process has one thread.
  Worker(const Scene& scene, const std::string& mount, const std::string& outside,
         const std::string& fake_firecracker);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  Worker(Worker&&) = delete;
  Worker& operator=(Worker&&) = delete;
  ~Worker();

  /// The answer, also when the worker dies of it or takes too long: then it is not ok, and
  /// is_alive() is false from then on.
  Answer call(Task task, const Progress& progress = {});

  [[nodiscard]] bool is_alive() const { return pid_ > 0; }

 private:
  void end();

  pid_t pid_ = -1;
  os::Fd socket_;
};

}  // namespace lamina::torture
