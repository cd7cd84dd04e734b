// Tests the client against a server that sends exactly the bytes of a script.
#include "vmm/firecracker/client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <variant>
#include <vector>

#include "base/error.h"
#include "os/process.h"
#include "scratch_directory.h"
#include "vmm/connect.h"

namespace lamina::vmm {
namespace {

const std::string kNoContent =
    "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";
const std::string kInfo =
    R"({"id":"vm-1","state":"Running","vmm_version":"1.17.0-dev","app_name":"Firecracker"})";

std::string answer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status +
         " \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
         "Content-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}
std::string fault(const std::string& message) {
  return answer("400", R"({"fault_message":")" + message + R"("})");
}

/// Listens on `path`, which may have any length. Async-signal-safe: also used in forked children.
int listen_at(const std::string& path, int backlog) {
  const auto slash = path.rfind('/');
  const int directory = ::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const std::string name = "/proc/self/fd/" + std::to_string(directory) + path.substr(slash);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(static_cast<char*>(address.sun_path), name.data(), name.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool listens =
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      ::listen(fd, backlog) == 0;
  ::close(directory);
  return listens ? fd : -1;
}

/// Reads a whole request; empty if the peer closed the connection before.
std::string read_request(int fd) {
  std::string request;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t count = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (count <= 0) return {};
    request.append(buffer.data(), static_cast<std::size_t>(count));
    const auto head_end = request.find("\r\n\r\n");
    if (head_end == std::string::npos) continue;
    constexpr std::string_view kLength = "Content-Length: ";
    const auto length = request.find(kLength);
    const std::size_t body_bytes =
        length < head_end ? std::stoul(request.substr(length + kLength.size())) : 0;
    if (request.size() >= head_end + 4 + body_bytes) return request;
  }
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

void wait_until_closed(int fd) {
  char byte = 0;
  while (::recv(fd, &byte, 1, 0) > 0) {
  }
}

/// How the server handles a request.
struct Step {
  enum class How : std::uint8_t {
    kAnswerAndKeep,  ///< as Firecracker: the connection stays open until the client closes it
    kAnswerAndClose,
    kByteByByte,
    kEndless,  ///< repeats the bytes until the client closes
  };
  std::string bytes;
  How how = How::kAnswerAndKeep;
};

/// Handles the n-th request with the n-th step, on any number of connections. Runs in this process,
/// so the peer's pid is ours.
class ScriptedServer {
 public:
  ScriptedServer(const std::string& path, std::vector<Step> steps)
      : steps_(std::move(steps)), listening_(listen_at(path, 16)), thread_([this] { serve(); }) {}
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ScriptedServer(ScriptedServer&&) = delete;
  ScriptedServer& operator=(ScriptedServer&&) = delete;
  ~ScriptedServer() {
    ::shutdown(listening_, SHUT_RDWR);
    thread_.join();
    ::close(listening_);
  }
  std::vector<std::string> requests() {
    const std::scoped_lock lock(mutex_);
    return requests_;
  }
  /// The connection number of each request.
  std::vector<std::size_t> connections() {
    const std::scoped_lock lock(mutex_);
    return connections_;
  }
  /// Returns when the server has closed so many connections.
  void wait_for_closed(std::size_t count) {
    std::unique_lock lock(mutex_);
    closing_.wait(lock, [&] { return closed_ >= count; });
  }

 private:
  void serve() {
    std::vector<std::jthread> threads;
    for (std::size_t number = 0;; ++number) {
      const int fd = ::accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      threads.emplace_back([this, fd, number] {
        converse(fd, number);
        ::close(fd);
        const std::scoped_lock lock(mutex_);
        ++closed_;
        closing_.notify_all();
      });
    }
  }
  void converse(int fd, std::size_t number) {
    while (true) {
      const std::string request = read_request(fd);
      if (request.empty()) return;
      Step step{"", Step::How::kAnswerAndClose};
      {
        const std::scoped_lock lock(mutex_);
        if (requests_.size() < steps_.size()) step = steps_[requests_.size()];
        requests_.push_back(request);
        connections_.push_back(number);
      }
      perform(fd, step);
      if (step.how == Step::How::kAnswerAndClose) return;
    }
  }
  static void perform(int fd, const Step& step) {
    switch (step.how) {
      case Step::How::kAnswerAndKeep:
      case Step::How::kAnswerAndClose:
        send_all(fd, step.bytes);
        return;
      case Step::How::kByteByByte:
        for (const char& byte : step.bytes) send_all(fd, {&byte, 1});
        return;
      case Step::How::kEndless:
        while (send_all(fd, step.bytes)) {
        }
    }
  }

  std::vector<Step> steps_;
  int listening_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::size_t> connections_;
  std::size_t closed_ = 0;
  std::condition_variable closing_;
  std::thread thread_;
};

/// Requests an interruption from the n-th check on.
class StopAt final : public Progress {
 public:
  explicit StopAt(int question) : stop_at_(question) {}
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  bool interrupted() override { return ++asked_ >= stop_at_; }
  [[nodiscard]] int asked() const { return asked_; }

 private:
  int stop_at_;
  int asked_ = 0;
};

class FirecrackerTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

  Firecracker connect(const Timeouts& timeouts = {}, Progress* progress = nullptr) {
    auto firecracker = Firecracker::connect(path_, timeouts, progress);
    if (!firecracker) throw std::runtime_error(firecracker.error().message);
    return std::move(*firecracker);
  }

  /// Starts a process that listens on path_ and runs `serve(listening socket)`.
  template <typename Serve>
  pid_t fork_listener(Serve serve) {
    std::array<int, 2> ready{};
    EXPECT_EQ(::pipe(ready.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const int listening = listen_at(path_, 16);
      ::close(ready[0]);
      ::close(ready[1]);
      serve(listening);
      ::_exit(0);
    }
    children_.push_back(child);
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 0);  // the child has closed its end
    ::close(ready[0]);
    return child;
  }
  void end_child(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::erase(children_, child);
  }

  [[nodiscard]] std::string prefix(const std::string& request) const {
    return "firecracker at '" + path_ + "': " + request + ": ";
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.file("api.sock");
  std::vector<pid_t> children_;
};

void accept_request_and(int listening, void (*then)(int connection)) {
  while (true) {
    const int fd = ::accept(listening, nullptr, nullptr);
    if (fd < 0) ::_exit(1);
    if (!read_request(fd).empty()) return then(fd);
    ::close(fd);
  }
}

TEST_F(FirecrackerTest, ConnectIdentifiesTheListeningProcess) {
  const ScriptedServer server(path_, {});
  const Firecracker firecracker = connect();
  EXPECT_EQ(firecracker.pid(), ::getpid());
  EXPECT_EQ(firecracker.uid(), ::getuid());
  EXPECT_EQ(firecracker.gid(), ::getgid());
  EXPECT_EQ(firecracker.start_time(), *os::start_time_of(::getpid()));
  EXPECT_FALSE(os::has_ended(firecracker.pidfd()));
}

TEST_F(FirecrackerTest, ConnectIsNotFoundIfNoProcessListens) {
  EXPECT_EQ(Firecracker::connect(path_).error().kind, ErrorKind::kNotFound);
  ::close(listen_at(path_, 1));
  EXPECT_EQ(Firecracker::connect(path_).error().kind, ErrorKind::kNotFound);
}

TEST_F(FirecrackerTest, SocketPathMayHaveAnyLength) {
  const std::filesystem::path deep =
      scratch_.path() / std::string(200, 'd') / std::string(200, 'e');
  std::filesystem::create_directories(deep);
  path_ = deep / "api.sock";
  const ScriptedServer server(path_, {{kNoContent}});
  Firecracker firecracker = connect();
  EXPECT_TRUE(firecracker.pause().status());
}

TEST_F(FirecrackerTest, RequestsAreExact) {
  ScriptedServer server(
      path_, {{answer("200", kInfo)}, {kNoContent}, {kNoContent}, {kNoContent}, {kNoContent}});
  Firecracker firecracker = connect();
  const auto info = firecracker.describe();
  EXPECT_TRUE(info) << info.error().message;
  EXPECT_TRUE(firecracker.pause().status());
  EXPECT_TRUE(firecracker.resume().status());
  EXPECT_TRUE(firecracker.create({SnapshotType::kFull, "/s", "/m"}).status());
  LoadRequest load;
  load.state_path = "/s";
  load.backend_path = "/" + std::string(5000, 'm');
  EXPECT_TRUE(firecracker.load(load).status());
  const auto with_body = [](const std::string& what, const std::string& body) {
    return what + " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n" +
           "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  };
  const std::vector<std::string> expected = {
      "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
      with_body("PATCH /vm", R"({"state":"Paused"})"),
      with_body("PATCH /vm", R"({"state":"Resumed"})"),
      with_body("PUT /snapshot/create",
                R"({"snapshot_type":"Full","snapshot_path":"/s","mem_file_path":"/m"})"),
      with_body("PUT /snapshot/load", *encode_load(load)),
  };
  EXPECT_EQ(server.requests(), expected);
}

TEST_F(FirecrackerTest, ResponsesAreDecoded) {
  const ScriptedServer server(
      path_, {{answer("200", kInfo)},
              {answer("200", R"({"mem_size_mib":128,"vcpu_count":1,"track_dirty_pages":true})")},
              {answer("200", kInfo), Step::How::kByteByByte},
              {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
               fmt::format("{:x}\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", kInfo.size(), kInfo)},
              {"HTTP/1.1 100 Continue\r\n\r\n" + answer("200", kInfo)}});
  Firecracker firecracker = connect();
  EXPECT_EQ(firecracker.describe()->id, "vm-1");
  EXPECT_EQ(firecracker.machine_config()->memory_mib, 128);
  for (int i = 0; i < 3; ++i) {
    const auto info = firecracker.describe();
    ASSERT_TRUE(info) << i << info.error().message;
    EXPECT_EQ(info->state, VmState::kRunning);
  }
}

TEST_F(FirecrackerTest, ProxiesOfTheEnvironmentAreNotUsed) {
  ::setenv("http_proxy", "http://192.0.2.1:1", 1);
  const ScriptedServer server(path_, {{kNoContent}});
  EXPECT_TRUE(connect().pause().status());
  ::unsetenv("http_proxy");
}

TEST_F(FirecrackerTest, FaultMessageIsTheErrorOfARefusedRequest) {
  const ScriptedServer server(path_, {{fault("disk\\nfull")},
                                      {answer("500", "")},
                                      {fault("no VM")},
                                      {fault("bad"), Step::How::kAnswerAndClose}});
  Firecracker firecracker = connect();
  const Reply created = firecracker.create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(created.outcome(), Outcome::kRefused);
  EXPECT_EQ(created.status().error().message, prefix("PUT /snapshot/create") + "disk?full");
  const Reply paused = firecracker.pause();
  EXPECT_EQ(paused.outcome(), Outcome::kRefused);
  EXPECT_EQ(paused.status().error().message, prefix("PATCH /vm") + "it gave no reason");
  EXPECT_EQ(firecracker.describe().error().message, prefix("GET /") + "no VM");
  LoadRequest load;
  load.state_path = load.backend_path = "/s";
  EXPECT_EQ(firecracker.load(load).status().error().message, prefix("PUT /snapshot/load") + "bad");
}

TEST_F(FirecrackerTest, UnencodableRequestIsRefusedUnsent) {
  ScriptedServer server(path_, {});
  Firecracker firecracker = connect();
  const Reply created = firecracker.create({SnapshotType::kFull, "/s", "/\xff"});
  EXPECT_EQ(created.outcome(), Outcome::kRefused);
  EXPECT_EQ(created.status().error().kind, ErrorKind::kUsage);
  EXPECT_EQ(firecracker.load({}).outcome(), Outcome::kRefused);
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(FirecrackerTest, TruncatedResponseIsRejected) {
  const std::string info = answer("200", kInfo);
  const std::string refusal = fault("no");
  std::vector<Step> steps;
  for (const std::string* whole : {&kNoContent, &refusal, &info}) {
    for (std::size_t size = 0; size < whole->size(); ++size) {
      steps.push_back({whole->substr(0, size), Step::How::kAnswerAndClose});
    }
  }
  const ScriptedServer server(path_, steps);
  Firecracker firecracker = connect();
  for (std::size_t size = 0; size < kNoContent.size() + refusal.size(); ++size) {
    const Reply reply = firecracker.create({SnapshotType::kFull, "/s", "/m"});
    ASSERT_EQ(reply.outcome(), Outcome::kUnknown) << size << ": " << steps[size].bytes;
  }
  for (std::size_t size = 0; size < info.size(); ++size) ASSERT_FALSE(firecracker.describe());
}

TEST_F(FirecrackerTest, GarbageResponseHasAnUnknownOutcome) {
  const std::vector<std::string> garbage = {
      std::string(1000, '\0'),
      "\r\n\r\n\r\n",
      "no HTTP at all\r\n\r\n",
      "HTTP/0.9 204\r\n\r\n",
      "HTTP/7.1 204 \r\n\r\n",
      "HTTP/1.1 999999999999 \r\n\r\n",
      "HTTP/1.1 301 \r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 100 \r\n\r\n",
      "HTTP/1.1 101 \r\nUpgrade: h2c\r\n\r\n",
      "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999999\r\n\r\n",
      "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"};
  std::vector<Step> steps;
  for (const std::string& bytes : garbage) {
    steps.push_back({bytes, Step::How::kAnswerAndClose});
  }
  const ScriptedServer server(path_, steps);
  Firecracker firecracker = connect();
  for (const std::string& bytes : garbage) {
    EXPECT_EQ(firecracker.pause().outcome(), Outcome::kUnknown) << bytes;
  }
}

TEST_F(FirecrackerTest, FlippedByteIsAnErrorOrDoesNotChangeTheResult) {
  const std::string whole = answer("200", kInfo);
  std::vector<Step> steps;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    steps.push_back({whole, Step::How::kAnswerAndClose});
    steps.back().bytes[i] = static_cast<char>(~whole[i]);
  }
  ScriptedServer server(path_, steps);
  Firecracker firecracker = connect();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    // Flipped bytes are not ASCII: in the JSON they are errors, in the header they may be ignored.
    const auto info = firecracker.describe();
    if (info) {
      EXPECT_EQ(info->id, "vm-1") << i;
      EXPECT_EQ(info->state, VmState::kRunning) << i;
      EXPECT_EQ(info->version, "1.17.0-dev") << i;
      EXPECT_LT(i, whole.size() - kInfo.size());
    } else {
      EXPECT_EQ(info.error().kind, ErrorKind::kFailed) << i;
      EXPECT_TRUE(info.error().message.starts_with(prefix("GET /"))) << info.error().message;
    }
  }
  EXPECT_EQ(server.requests().size(), whole.size());
}

TEST_F(FirecrackerTest, WrongJsonNamesRequestAndField) {
  const ScriptedServer server(path_, {{answer("200", R"({"id":7})")}, {answer("200", "[")}});
  Firecracker firecracker = connect();
  EXPECT_EQ(firecracker.describe().error().message,
            prefix("GET /") + "field 'id' of the response is missing or wrong");
  EXPECT_EQ(firecracker.machine_config().error().message,
            prefix("GET /machine-config") + "the response is not a JSON object");
}

TEST_F(FirecrackerTest, EndlessResponsesAreRejected) {
  const std::string ok = "HTTP/1.1 200 \r\n";
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  const std::string chunk = "3e8\r\n" + std::string(1000, ' ') + "\r\n";
  std::vector<Step> steps;
  steps.push_back({ok + "Content-Length: 2000000\r\n\r\n" + std::string(2000000, ' ')});
  steps.push_back({"HTTP/1.1 100 \r\n\r\n", Step::How::kEndless});
  steps.push_back({std::string(4096, 'x'), Step::How::kEndless});
  std::string many_lines = ok;
  while (many_lines.size() < 2000000) many_lines += line;
  steps.push_back({many_lines});
  std::string many_chunks = ok + "Transfer-Encoding: chunked\r\n\r\n";
  while (many_chunks.size() < 2000000) many_chunks += chunk;
  steps.push_back({many_chunks});
  const ScriptedServer server(path_, steps);
  Firecracker firecracker = connect();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(firecracker.pause().outcome(), Outcome::kUnknown) << i;
  }
}

TEST_F(FirecrackerTest, TimedOutCreateHasAnUnknownOutcome) {
  const ScriptedServer server(path_, {{""}});
  Timeouts timeouts;
  timeouts.create = std::chrono::milliseconds(20);
  const Reply reply = connect(timeouts).create({SnapshotType::kDiff, "/s", "/m"});
  EXPECT_EQ(reply.outcome(), Outcome::kUnknown);
  EXPECT_EQ(reply.status().error().message,
            prefix("PUT /snapshot/create") + "no response within 20 ms");
}

TEST_F(FirecrackerTest, ShortCallsStopWhenInterrupted) {
  const ScriptedServer server(path_, {{""}, {""}, {""}});
  StopAt connected(2);
  EXPECT_EQ(connect({}, &connected).describe().error().kind, ErrorKind::kInterrupted);
  StopAt waiting(5);
  const Reply paused = connect({}, &waiting).pause();
  EXPECT_EQ(paused.outcome(), Outcome::kUnknown);
  EXPECT_EQ(paused.status().error().kind, ErrorKind::kInterrupted);
  EXPECT_EQ(waiting.asked(), 5);
}

TEST_F(FirecrackerTest, CreateThatWasSentIsNotInterrupted) {
  const ScriptedServer server(path_, {{kNoContent, Step::How::kByteByByte}});
  StopAt stop(3);  // asked by connect and before the request is sent
  Firecracker firecracker = connect({}, &stop);
  EXPECT_EQ(firecracker.create({SnapshotType::kFull, "/s", "/m"}).outcome(),
            Outcome::kAcknowledged);
  EXPECT_EQ(stop.asked(), 2);
  const Reply unsent = firecracker.create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(unsent.outcome(), Outcome::kRefused);
  EXPECT_EQ(unsent.status().error().kind, ErrorKind::kInterrupted);
}

TEST_F(FirecrackerTest, ConnectTimesOutIfNotAccepted) {
  const int listening = listen_at(path_, 0);  // room for one connection: that of connect()
  Timeouts timeouts;
  timeouts.connect = std::chrono::milliseconds(20);
  const Reply reply = connect(timeouts).pause();
  EXPECT_EQ(reply.outcome(), Outcome::kRefused);
  EXPECT_EQ(reply.status().error().message,
            prefix("PATCH /vm") + "connect '" + path_ + "': not accepted within 20 ms");
  ::close(listening);
  std::filesystem::remove(path_);
  const int another = listen_at(path_, 0);
  StopAt stop(4);
  EXPECT_EQ(connect({}, &stop).pause().status().error().kind, ErrorKind::kInterrupted);
  ::close(another);
}

TEST_F(FirecrackerTest, WaitStopsWhenTheProcessEnds) {
  fork_listener([](int listening) { accept_request_and(listening, [](int) { ::_exit(0); }); });
  const Reply reply = connect().create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(reply.outcome(), Outcome::kUnknown);
}

TEST_F(FirecrackerTest, WaitStopsWhenTheProcessEndsButItsSocketIsInherited) {
  const pid_t listener = fork_listener([](int listening) {
    accept_request_and(listening, [](int connection) {
      if (::fork() == 0) wait_until_closed(connection);
      ::_exit(7);
    });
  });
  const Reply reply = connect().create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(reply.outcome(), Outcome::kUnknown);
  EXPECT_EQ(reply.status().error().message,
            prefix("PUT /snapshot/create") +
                fmt::format("process {} ended before it answered: exit code 7", listener));
}

TEST_F(FirecrackerTest, ResponseCutOffByAKillIsReportedAsEndOfProcess) {
  const pid_t listener = fork_listener([](int listening) {
    accept_request_and(listening, [](int connection) {
      send_all(connection, "HTTP/1.1 20");
      ::kill(::getpid(), SIGKILL);
    });
  });
  const Reply reply = connect().create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(reply.outcome(), Outcome::kUnknown);
  EXPECT_EQ(reply.status().error().message,
            prefix("PUT /snapshot/create") +
                fmt::format("process {} ended before it answered: killed by signal 9", listener));
}

const Step kTurnedAway = {
    "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
    R"({ "error": "Too many open connections" })",
    Step::How::kAnswerAndClose};

TEST_F(FirecrackerTest, RequestsAreRetriedOn503) {
  ScriptedServer server(path_, {kTurnedAway,
                                kTurnedAway,
                                {answer("200", kInfo)},
                                kTurnedAway,
                                {kNoContent},
                                kTurnedAway,
                                {kNoContent}});
  Firecracker firecracker = connect();
  const auto info = firecracker.describe();
  EXPECT_TRUE(info) << info.error().message;
  const Reply created = firecracker.create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_TRUE(created.status()) << created.status().error().message;
  const Reply resumed = firecracker.resume();
  EXPECT_TRUE(resumed.status()) << resumed.status().error().message;
  EXPECT_EQ(server.requests().size(), 7U);
}

TEST_F(FirecrackerTest, RetriesOn503TimeOut) {
  const ScriptedServer server(path_, std::vector<Step>(1000, kTurnedAway));
  Timeouts timeouts;
  timeouts.request = std::chrono::milliseconds(500);
  const Reply created = connect(timeouts).create({SnapshotType::kFull, "/s", "/m"});
  // The server did not read the request.
  EXPECT_EQ(created.outcome(), Outcome::kRefused);
  EXPECT_EQ(created.status().error().message,
            prefix("PUT /snapshot/create") +
                "it has refused further connections (503) for 500 ms; find out which programs keep "
                "connections to this socket open");
}

TEST_F(FirecrackerTest, RetriesOn503AreInterrupted) {
  const ScriptedServer server(path_, std::vector<Step>(1000, kTurnedAway));
  StopAt stop(20);
  EXPECT_EQ(connect({}, &stop).describe().error().kind, ErrorKind::kInterrupted);
}

TEST_F(FirecrackerTest, ResumeUsesTheConnectionOfThePauseOn503) {
  ScriptedServer server(
      path_,
      {{kNoContent}, kTurnedAway, {kNoContent}, kTurnedAway, {kNoContent}, {answer("200", kInfo)}});
  Firecracker firecracker = connect();  // connection 0
  EXPECT_TRUE(firecracker.pause().status());
  EXPECT_TRUE(firecracker.create({SnapshotType::kFull, "/s", "/m"}).status());
  EXPECT_TRUE(firecracker.resume().status());
  EXPECT_TRUE(firecracker.describe());
  EXPECT_EQ(server.connections(), (std::vector<std::size_t>{1, 2, 1, 3, 1, 4}));
}

TEST_F(FirecrackerTest, ResumeUsesTheConnectionOfTheLoadOn503) {
  ScriptedServer server(path_, {{kNoContent}, kTurnedAway, {kNoContent}});
  Firecracker firecracker = connect();  // connection 0
  LoadRequest load;
  load.state_path = load.backend_path = "/s";
  EXPECT_TRUE(firecracker.load(load).status());
  EXPECT_TRUE(firecracker.resume().status());
  EXPECT_EQ(server.connections(), (std::vector<std::size_t>{1, 2, 1}));
}

TEST_F(FirecrackerTest, ClosedKeptConnectionIsDropped) {
  const std::vector<Step> steps = {
      {kNoContent, Step::How::kAnswerAndClose}, kTurnedAway, {kNoContent}};
  ScriptedServer server(path_, steps);
  Firecracker firecracker = connect();  // connection 0
  EXPECT_TRUE(firecracker.pause().status());
  server.wait_for_closed(2);  // connect() looks who listens by a connection of its own
  const Reply resumed = firecracker.resume();
  EXPECT_TRUE(resumed.status()) << resumed.status().error().message;
  EXPECT_EQ(server.connections(), (std::vector<std::size_t>{1, 2, 3}));
}

TEST_F(FirecrackerTest, ResponseOfAnEndedProcessIsRead) {
  fork_listener([](int listening) {
    accept_request_and(listening, [](int connection) { send_all(connection, fault("bye")); });
  });
  LoadRequest load;
  load.state_path = load.backend_path = "/s";
  const Reply reply = connect().load(load);
  EXPECT_EQ(reply.outcome(), Outcome::kRefused);
  EXPECT_EQ(reply.status().error().message, prefix("PUT /snapshot/load") + "bye");
}

TEST_F(FirecrackerTest, NothingIsSentToAnotherProcessAtTheSamePath) {
  const pid_t first = fork_listener([](int) { ::pause(); });
  Firecracker firecracker = connect();
  EXPECT_EQ(firecracker.pid(), first);
  end_child(first);
  EXPECT_TRUE(os::has_ended(firecracker.pidfd()));
  EXPECT_EQ(firecracker.pause().outcome(), Outcome::kRefused);
  std::filesystem::remove(path_);
  ScriptedServer server(path_, {{kNoContent}});
  const Reply reply = firecracker.create({SnapshotType::kFull, "/s", "/m"});
  EXPECT_EQ(reply.outcome(), Outcome::kRefused);
  EXPECT_EQ(reply.status().error().message,
            prefix("PUT /snapshot/create") +
                fmt::format("process {} listens there now, no longer {}", ::getpid(), first));
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(FirecrackerTest, NothingIsSentToAnHeirOfTheListeningSocket) {
  std::array<int, 2> alive{};
  ASSERT_EQ(::pipe(alive.data()), 0);
  const pid_t first = fork_listener([&](int /*listening*/) {
    ::close(alive[1]);
    char byte = 0;
    if (::fork() == 0) ::_exit(static_cast<int>(::read(alive[0], &byte, 1)));
    ::pause();
  });
  ::close(alive[0]);
  Firecracker firecracker = connect();
  end_child(first);
  const Reply reply = firecracker.pause();
  EXPECT_EQ(reply.outcome(), Outcome::kRefused);
  ::close(alive[1]);
}

TEST_F(FirecrackerTest, PeerThatStopsReadingRaisesNoSignal) {
  fork_listener([](int listening) {
    while (true) {
      const int connection = ::accept(listening, nullptr, nullptr);
      char byte = 0;
      ::recv(connection, &byte, 1, 0);  // the rest of the request finds no reader
      ::close(connection);
    }
  });
  LoadRequest load;
  load.state_path = "/s";
  load.backend_path = std::string(4 << 20, 'm');  // more than a socket holds
  const Reply reply = connect().load(load);
  EXPECT_EQ(reply.outcome(), Outcome::kUnknown) << reply.status().error().message;
}

TEST_F(FirecrackerTest, OneRequestTellsWhichVmmItIsAndDescribesIt) {
  ScriptedServer server(path_, {{answer("200", kInfo)}, {answer("200", kInfo)}});
  auto any = vmm::connect(path_, {}, nullptr, {});
  ASSERT_TRUE(any) << any.error().message;
  auto* firecracker = std::get_if<Firecracker>(&*any);
  ASSERT_NE(firecracker, nullptr);
  EXPECT_EQ(firecracker->describe()->id, "vm-1");
  EXPECT_EQ(server.requests().size(), 1);
  EXPECT_EQ(firecracker->describe()->id, "vm-1");
  EXPECT_EQ(server.requests().size(), 2) << "once only: it may have changed";
}

TEST_F(FirecrackerTest, WhatWasToldBeforeAChangeIsNotRepeated) {
  ScriptedServer server(path_, {{answer("200", kInfo)}, {kNoContent}, {answer("200", kInfo)}});
  auto any = vmm::connect(path_, {}, nullptr, {});
  ASSERT_TRUE(any) << any.error().message;
  auto& firecracker = std::get<Firecracker>(*any);
  EXPECT_TRUE(firecracker.pause().status());
  EXPECT_TRUE(firecracker.describe());
  EXPECT_EQ(server.requests().size(), 3);
}

TEST_F(FirecrackerTest, AVmmThatDoesNotKnowTheRootIsACloudHypervisor) {
  ScriptedServer server(path_, {{answer("404", "[]")}, {answer("500", R"(["no"])")}});
  auto any = vmm::connect(path_, {}, nullptr, {});
  ASSERT_TRUE(any) << any.error().message;
  auto* other = std::get_if<CloudHypervisor>(&*any);
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(server.requests().size(), 1);
  EXPECT_EQ(other->pid(), ::getpid());
  EXPECT_TRUE(other->ping().error().message.starts_with("cloud-hypervisor at '"));
}

TEST_F(FirecrackerTest, NothingIsAskedOfAProcessThatTheCallerRefuses) {
  ScriptedServer server(path_, {});
  pid_t found = -1;
  const auto any = vmm::connect(path_, {}, nullptr, [&](const Vmm& vmm) -> Status {
    found = vmm.pid();
    return fail(ErrorKind::kBusy, "not this one");
  });
  ASSERT_FALSE(any);
  EXPECT_EQ(any.error().message, "not this one");
  EXPECT_EQ(found, ::getpid());
  EXPECT_TRUE(server.requests().empty());
}

}  // namespace
}  // namespace lamina::vmm
