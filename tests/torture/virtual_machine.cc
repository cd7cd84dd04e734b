#include "virtual_machine.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "os/fd.h"
#include "stand_ins/sockets.h"

namespace lamina::torture {

Status VirtualMachine::start(const std::string& program, const std::string& directory,
                             const std::vector<std::string>& options) {
  power_off();
  api_socket_ = directory + "/api";
  control_socket_ = directory + "/control";
  ::unlink(api_socket_.c_str());
  ::unlink(control_socket_.c_str());
  std::vector<std::string> words{program, "--api-sock", api_socket_, "--control", control_socket_};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("pipe", program, errno);
  const os::Fd reading(ends[0]);
  os::Fd writing(ends[1]);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(writing.get(), STDOUT_FILENO);
    ::execv(pointers.front(), pointers.data());
    ::_exit(127);
  }
  writing.reset();
  std::array<char, 256> line{};
  // "ready …", or nothing when it has ended.
  if (::read(reading.get(), line.data(), line.size()) > 0) return {};
  power_off();
  return fail(ErrorKind::kFailed, "'{}' does not start", program);
}

Status VirtualMachine::tell(const std::string& line) const {
  const os::Fd socket(tests::connect_to(control_socket_));
  if (!socket.valid()) return system_failure("connect", control_socket_, errno);
  if (!tests::send_all(socket.get(), line + "\n")) {
    return system_failure("send", control_socket_, errno);
  }
  std::string answer;
  while (!answer.ends_with('\n')) {
    std::array<char, 256> piece{};
    const ssize_t count = ::read(socket.get(), piece.data(), piece.size());
    if (count <= 0) return fail(ErrorKind::kFailed, "no answer to '{}'", line);
    answer.append(piece.data(), static_cast<std::size_t>(count));
  }
  if (answer.starts_with("ok")) return {};
  return fail(ErrorKind::kFailed, "'{}': {}", line, answer);
}

void VirtualMachine::power_off() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace lamina::torture
