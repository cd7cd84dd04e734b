#include <cstdio>
#include <exception>
#include <utility>

#include "daemon/daemon.h"
#include "daemon/log.h"
#include "os/own_process.h"

namespace {

int report(const lamina::Error& error) {
  lamina::daemon::log(lamina::daemon::Level::kError, "failed", lamina::daemon::error_fields(error));
  return lamina::schema::exit_code_of(error.kind);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    lamina::os::begin_program();
    lamina::os::begin_service();
    auto given = lamina::daemon::parse_command_line(argc, argv);
    if (!given) return report(given.error());
    if (!*given) return lamina::schema::kExitDone;
    const lamina::Status done = lamina::daemon::run(std::move(**given));
    return done ? lamina::schema::kExitDone : report(done.error());
  } catch (const std::exception& exception) {
    // Only what cannot throw again.
    std::fputs("laminad: ", stderr);
    std::fputs(exception.what(), stderr);
    std::fputs("\n", stderr);
    return lamina::schema::kExitFailed;
  }
}
