// The test's commands to the guest: lines on a Unix socket, each answered by one line.
//
//   write PAGE SEED | clear PAGE | read PAGE | balloon PAGE COUNT      the guest does one thing
//   run OPERATIONS SEED        that many random ones, spread over all pages
//   touch COUNT SEED           reads and compares so many random pages
//   check                      compares every byte: "ok pages=N" or "wrong page=N …"
//   dirty | pages              "ok N"
//   digest                     "ok XXXXXXXX", CRC-32 of the memory as it must be
//   dump PATH                  writes the memory to a file
//   fail POINT[:N]             as --fail
//   release                    lets a held request go: "ok", or "error …" when none is held
//   held                       "ok yes" or "ok no"
//   turned-away                "ok N": connections that the API had no room for
//
// "error …" is the answer to what cannot be done. What the guest does needs a running VM. Every
// connection has a thread of its own, so one can wait while another releases it.
#pragma once

#include <atomic>
#include <string>

#include "os/fd.h"
#include "stand_ins/firecracker/failures.h"
#include "stand_ins/firecracker/micro_vm.h"

namespace lamina::tests {

class Control {
 public:
  Control(MicroVm& vm, Failures& failures, Hold& hold, const std::atomic<unsigned>& turned_away)
      : vm_(vm), failures_(failures), hold_(hold), turned_away_(turned_away) {}

  /// Serves in threads of its own until the process ends. REQUIRES: this outlives the process.
  void serve(os::Fd listening);

  /// The answer to one line, without the line feed.
  std::string answer(const std::string& line);

 private:
  void converse(const os::Fd& socket);

  MicroVm& vm_;
  Failures& failures_;
  Hold& hold_;
  const std::atomic<unsigned>& turned_away_;
};

}  // namespace lamina::tests
