#include <fmt/format.h>
#include <exception>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"

int main(int argc, char** argv) {
  // The library throws nothing of its own; memory can still run out.
  try {
    lamina::cli::install_interrupt_handler();
    return lamina::cli::run_command_line(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "lamina: {}\n", exception.what());
    return lamina::cli::kExitFailed;
  }
}
