#include "os/shell_command.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

namespace lamina::os {
namespace {

using std::chrono::seconds;

ShellCommand command_of(std::string text, std::string_view input = {}) {
  ShellCommand command;
  command.command = std::move(text);
  command.input = std::as_bytes(std::span(input));
  command.max_output_bytes = 100;
  command.timeout = seconds(60);
  return command;
}

std::string text_of(const Result<std::vector<std::byte>>& output) {
  if (!output) return "error: " + output.error().message;
  return {reinterpret_cast<const char*>(output->data()), output->size()};
}

TEST(ShellCommand, OutputIsWhatTheCommandMakesOfTheInput) {
  EXPECT_EQ(text_of(run_shell_command(command_of("tr a-z A-Z", "secret"))), "SECRET");
  EXPECT_EQ(text_of(run_shell_command(command_of("true", "nobody reads this"))), "");
}

TEST(ShellCommand, VariablesReachTheCommand) {
  ShellCommand command = command_of("printf %s \"$LAMINA_TEST_WORD\"");
  command.variables = {{"LAMINA_TEST_WORD", "wrap"}};
  EXPECT_EQ(text_of(run_shell_command(command)), "wrap");
}

TEST(ShellCommand, AFailureIsNamed) {
  EXPECT_EQ(text_of(run_shell_command(command_of("echo half; exit 3"))),
            "error: the command 'echo half; exit 3' ended with 3");
  EXPECT_EQ(text_of(run_shell_command(command_of("kill -9 $$"))),
            "error: the command 'kill -9 $$' was killed");
}

TEST(ShellCommand, TooMuchOutputIsAnError) {
  EXPECT_EQ(text_of(run_shell_command(command_of("printf %101s"))),
            "error: the command 'printf %101s' wrote 101 bytes; at most 100 are expected");
}

TEST(ShellCommand, ACommandThatTakesTooLongIsKilled) {
  ShellCommand command = command_of("tail -f /dev/null");
  command.timeout = std::chrono::milliseconds(50);
  EXPECT_EQ(text_of(run_shell_command(command)),
            "error: the command 'tail -f /dev/null' took more than 50 ms and was killed");
}

}  // namespace
}  // namespace lamina::os
