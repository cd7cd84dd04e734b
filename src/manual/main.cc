// lamina_manual: writes the manual pages and completion scripts of lamina and laminad. The build
// runs it.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>

#include "cli/command_line.h"
#include "daemon/settings.h"
#include "lamina/version.h"
#include "manual/completions.h"
#include "manual/man_page.h"

namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw std::runtime_error(fmt::format("'{}' cannot be written", path.string()));
}

void write_completions(const fs::path& directory, const lamina::manual::Program& program) {
  const std::string& name = program.command.name;
  write(directory / "bash" / name, lamina::manual::bash_completion(program));
  write(directory / "zsh" / ("_" + name), lamina::manual::zsh_completion(program));
  write(directory / "fish" / (name + ".fish"), lamina::manual::fish_completion(program));
}

void write_all(const fs::path& directory, const std::string& date) {
  using namespace lamina;
  const manual::Edition edition{version(), date};

  const cli::CommandLine command_line;
  const manual::Program program = manual::read_program(command_line.app());
  write(directory / "man1/lamina.1", manual::program_page(program, "1", edition));
  for (const manual::Command& verb : program.verbs) {
    write(directory / "man1" / ("lamina-" + verb.name + ".1"),
          manual::verb_page(program, verb, edition));
  }
  write_completions(directory, program);

  CLI::App app;  // the options below refer to `given`
  daemon::GivenOptions given;
  daemon::describe_command_line(app, given);
  const manual::Program daemon = manual::read_program(app);
  write(directory / "man8/laminad.8", manual::program_page(daemon, "8", edition));
  write_completions(directory, daemon);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("lamina_manual: give DIRECTORY DATE\n", stderr);
    return 2;
  }
  try {
    write_all(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& exception) {
    std::fputs(exception.what(), stderr);
    return 1;
  }
}
