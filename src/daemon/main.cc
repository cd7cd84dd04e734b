#include <signal.h>
#include <sys/resource.h>

#include <exception>

#include "daemon/daemon.h"
#include "daemon/log.h"

namespace {

/// Each layer of a chain, and each client, is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

/// A client that has gone must not kill us.
void ignore_broken_pipes() {
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, nullptr);
}

int report(const lamina::Error& error) {
  lamina::daemon::log(lamina::daemon::Level::kError, "failed", lamina::daemon::error_fields(error));
  return lamina::report::exit_code_of(error.kind);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    ignore_broken_pipes();
    raise_descriptor_limit();
    const auto given = lamina::daemon::parse_command_line(argc, argv);
    if (!given) return report(given.error());
    if (!*given) return lamina::report::kExitDone;
    const lamina::Status done = lamina::daemon::run(**given);
    return done ? lamina::report::kExitDone : report(done.error());
  } catch (const std::exception& exception) {
    return report({lamina::ErrorKind::kFailed, exception.what()});
  }
}
