#include <signal.h>
#include <sys/resource.h>

#include <exception>

#include "cli/command_line.h"
#include "cli/output.h"

namespace {

/// Each layer of a chain is a descriptor: a chain may be longer than the usual soft limit of 1,024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

/// A reader of our output that has gone must not kill us in the middle of a write to disk.
void ignore_broken_pipes() {
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  // The library throws nothing of its own; memory can still run out.
  try {
    ignore_broken_pipes();
    raise_descriptor_limit();
    return lamina::cli::run_command_line(argc, argv);
  } catch (const std::exception& exception) {
    lamina::cli::print_message(exception.what());
    return lamina::cli::kExitFailed;
  }
}
