#include "page_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "bench.h"
#include "touching_guest.h"

namespace lamina::bench {
namespace {

namespace fs = std::filesystem;

/// A process and its children, and theirs.
std::vector<pid_t> tree_of(pid_t process) {
  std::vector<pid_t> found = {process};
  for (std::size_t i = 0; i < found.size(); ++i) {
    std::error_code error;
    for (const auto& thread :
         fs::directory_iterator(fmt::format("/proc/{}/task", found[i]), error)) {
      std::ifstream children(thread.path() / "children");
      for (pid_t child = 0; children >> child;) found.push_back(child);
    }
  }
  return found;
}

/// Pages on tmpfs are left out: they are counted where they stand.
std::uint64_t private_bytes(pid_t process) {
  std::uint64_t bytes = 0;
  std::ifstream rollup(fmt::format("/proc/{}/smaps_rollup", process));
  for (std::string word; rollup >> word;) {
    std::uint64_t kib = 0;
    if ((word == "Pss_Anon:" || word == "Pss_File:") && rollup >> kib) bytes += kib * 1024;
  }
  return bytes;
}

std::uint64_t stored_bytes(const std::string& directory) {
  constexpr std::uint64_t kStatBlockBytes = 512;
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(directory, error)) {
    struct stat facts{};
    if (::lstat(entry.path().c_str(), &facts) == 0) {
      bytes += static_cast<std::uint64_t>(facts.st_blocks) * kStatBlockBytes;
    }
  }
  return bytes;
}

/// True when somebody listens there: a socket that is only bound refuses who connects.
bool is_listening(const std::string& path) {
  constexpr const char* kAccepts = "00010000";
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);) {
    if (line.ends_with(" " + path) && line.find(kAccepts) != std::string::npos) return true;
  }
  return false;
}

[[noreturn]] void run_program(const std::string& snapshot, const std::string& socket,
                              const std::string& state_directory) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);
  ::execl(LAMINA_PROGRAM, "lamina", "serve", snapshot.c_str(), "--socket", socket.c_str(),
          "--state-dir", state_directory.c_str(), nullptr);
  ::_exit(1);
}

}  // namespace

Result<std::unique_ptr<PageServer>> PageServer::start(const std::string& snapshot) {
  constexpr std::chrono::milliseconds kPause{5};
  std::unique_ptr<PageServer> server(new PageServer);
  server->socket_ = socket_path("serve");
  server->state_directory_ = fmt::format("/dev/shm/lamina-bench-{}", ::getpid());
  LAMINA_RETURN_IF_ERROR(remove_all(server->socket_));
  server->process_ = ::fork();
  if (server->process_ < 0) return system_failure("fork", "lamina serve", errno);
  if (server->process_ == 0) run_program(snapshot, server->socket_, server->state_directory_);
  while (!is_listening(server->socket_)) {
    if (::waitpid(server->process_, nullptr, WNOHANG) == server->process_) {
      server->process_ = -1;
      return fail(ErrorKind::kFailed, "'{} serve' ended at once", LAMINA_PROGRAM);
    }
    std::this_thread::sleep_for(kPause);
  }
  return server;
}

PageServer::~PageServer() {
  if (process_ > 0) {
    ::kill(process_, SIGTERM);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  static_cast<void>(remove_all(state_directory_));
  static_cast<void>(remove_all(socket_));
}

std::uint64_t PageServer::memory_bytes() const {
  std::uint64_t bytes = stored_bytes(state_directory_);
  for (const pid_t process : tree_of(process_)) bytes += private_bytes(process);
  return bytes;
}

}  // namespace lamina::bench
