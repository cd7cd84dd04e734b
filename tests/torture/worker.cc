#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "os/file.h"

namespace lamina::torture {
namespace {

constexpr int kHangMs = 60'000;
constexpr std::size_t kMaxAnswerBytes = 4096;

struct Order {
  Task task = Task::kSetUp;
  Progress progress;
};

/// The worker's side.
class Work {
 public:
  Work(const Scene& scene, const std::string& mount, const std::string& outside,
       const std::string& fake_firecracker)
      : scene_(scene), aftermath_(stage_, scene) {
    stage_.top = mount + "/top";
    stage_.store = stage_.top + "/store";
    stage_.outside = outside;
    stage_.fake_firecracker = fake_firecracker;
  }

  Result<std::string> carry_out(const Order& order) {
    switch (order.task) {
      case Task::kSetUp:
        return text_of(set_up());
      case Task::kOperate:
        return text_of(scene_.operate(stage_));
      case Task::kLearn:
        return text_of(learn());
      case Task::kPowerOff:
        stage_.vm.power_off();
        return std::string();
      case Task::kCheck:
        return text_of(aftermath_.check(order.progress));
      case Task::kRecover: {
        LAMINA_ASSIGN_OR_RETURN(const Found found, aftermath_.recover_once());
        return name_of(found);
      }
      case Task::kLook: {
        LAMINA_ASSIGN_OR_RETURN(const Found found, aftermath_.look(order.progress));
        LAMINA_RETURN_IF_ERROR(aftermath_.look_around(found));
        return name_of(found);
      }
    }
    return fail(ErrorKind::kUsage, "unknown task");
  }

 private:
  static std::string name_of(Found found) { return found == Found::kAfter ? "after" : "before"; }

  static Result<std::string> text_of(const Status& status) {
    if (status) return std::string();
    return std::unexpected(status.error());
  }

  Status set_up() {
    if (::mkdir(stage_.store.c_str(), 0755) != 0) {
      return system_failure("mkdir", stage_.store, errno);
    }
    LAMINA_RETURN_IF_ERROR(scene_.set_up(stage_));
    const Expectation& expected = stage_.expected;
    if (!expected.memory_file.empty()) {
      const std::string path = stage_.file(expected.memory_file);
      LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file,
                              os::open_regular(AT_FDCWD, path, O_RDONLY, path));
      LAMINA_ASSIGN_OR_RETURN(stage_.memory_file_extents,
                              os::written_ranges(file.fd.get(), file.facts.size_bytes, path));
    }
    layers_before_ = layer_count(stage_.snapshot(expected.target));
    return {};
  }

  Status learn() {
    Expectation& expected = stage_.expected;
    if (expected.target.empty()) return {};
    if (scene_.has_vm) {
      LAMINA_ASSIGN_OR_RETURN(expected.after, memory_of(stage_, stage_.snapshot(expected.target)));
    }
    const std::size_t layers = layer_count(stage_.snapshot(expected.target));
    if (layers != layers_before_ && expected.before == expected.after) {
      expected.layers_after = layers;
    }
    return {};
  }

  Stage stage_;
  const Scene& scene_;
  Aftermath aftermath_;
  std::size_t layers_before_ = 0;
};

[[noreturn]] void serve(Work& work, int socket) {
  while (true) {
    Order order;
    if (::recv(socket, &order, sizeof order, 0) != sizeof order) ::_exit(0);
    const auto done = work.carry_out(order);
    std::string answer = (done ? "+" : "-") + (done ? *done : done.error().message);
    if (answer.size() > kMaxAnswerBytes) answer.resize(kMaxAnswerBytes);
    if (::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) ::_exit(0);
  }
}

}  // namespace

Worker::Worker(const Scene& scene, const std::string& mount, const std::string& outside,
               const std::string& fake_firecracker) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw std::runtime_error("socketpair");
  }
  socket_ = os::Fd(ends[0]);
  const os::Fd theirs(ends[1]);
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  socket_.reset();
  auto& work = *new Work(scene, mount, outside, fake_firecracker);  // goes with the process
  serve(work, theirs.get());
}

Worker::~Worker() { end(); }

void Worker::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

Answer Worker::call(Task task, const Progress& progress) {
  if (!is_alive()) return {false, "the worker has ended"};
  const Order order{task, progress};
  std::string answer(kMaxAnswerBytes, '\0');
  ssize_t count = ::send(socket_.get(), &order, sizeof order, MSG_NOSIGNAL);
  if (count > 0) {
    pollfd waited{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&waited, 1, kHangMs);
    if (ready == 0) {
      end();
      return {false, "it hangs"};
    }
    count = ::recv(socket_.get(), answer.data(), answer.size(), 0);
  }
  if (count <= 0) {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return {false, fmt::format("the program ended: {}",
                               WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "exit")};
  }
  answer.resize(static_cast<std::size_t>(count));
  return {answer.front() == '+', answer.substr(1)};
}

}  // namespace lamina::torture
