#include <exception>

#include "cli/command_line.h"
#include "cli/output.h"
#include "os/own_process.h"

int main(int argc, char** argv) {
  // lamina throws no exceptions itself, but memory can run out.
  try {
    lamina::os::begin_program();
    return lamina::cli::run_command_line(argc, argv);
  } catch (const std::exception& exception) {
    lamina::cli::print_message(exception.what());
    return lamina::cli::kExitFailed;
  }
}
