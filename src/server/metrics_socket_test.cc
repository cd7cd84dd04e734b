#include "server/metrics_socket.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lamina/progress.h"
#include "lamina/serve.h"
#include "scratch_directory.h"
#include "server/metrics.h"

namespace lamina::server {
namespace {

constexpr std::size_t kMaxOfThisProcess = 8;

class MetricsSocketTest : public testing::Test {
 protected:
  void create() {
    auto socket = MetricsSocket::create(path_, {}, os::ReplaceSocket::kIfDead);
    ASSERT_TRUE(socket) << socket.error().message;
    socket_.emplace(std::move(*socket));
  }

  void handle() {
    socket_->handle([] { return std::string("lamina_up 1\n"); });
  }

  [[nodiscard]] os::Fd connect() const {
    auto client = os::connect_to(path_);
    EXPECT_TRUE(client) << client.error().message;
    return client ? std::move(*client) : os::Fd();
  }

  /// What the client has received; empty: nothing, or only the end.
  static std::string received(const os::Fd& client) {
    std::array<char, 4096> piece{};
    const ssize_t count = ::recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    return count > 0 ? std::string(piece.data(), static_cast<std::size_t>(count)) : std::string();
  }

  static bool is_closed(const os::Fd& client) {
    char byte = 0;
    return ::recv(client.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
  }

  static void send(const os::Fd& client, std::string_view text) {
    ASSERT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.file("metrics");
  std::optional<MetricsSocket> socket_;
};

TEST_F(MetricsSocketTest, AnswersAnyHttpRequestOnceAndCloses) {
  create();
  for (const std::string_view request :
       {"GET /metrics HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"}) {
    const os::Fd client = connect();
    send(client, request);
    handle();
    const std::string response = received(client);
    EXPECT_TRUE(response.starts_with("HTTP/1.")) << response;
    EXPECT_NE(response.find(" 200 OK\r\n"), std::string::npos) << response;
    EXPECT_NE(response.find("Content-Type: text/plain; version=0.0.4\r\n"), std::string::npos);
    EXPECT_TRUE(response.ends_with("\r\n\r\nlamina_up 1\n")) << response;
    EXPECT_TRUE(is_closed(client));
  }
}

TEST_F(MetricsSocketTest, OneProcessHasAFewConnectionsOnly) {
  create();
  std::vector<os::Fd> clients;
  for (std::size_t i = 0; i < kMaxOfThisProcess + 2; ++i) clients.push_back(connect());
  handle();
  for (std::size_t i = 0; i < clients.size(); ++i) EXPECT_EQ(is_closed(clients[i]), i < 2) << i;
}

TEST_F(MetricsSocketTest, ARequestThatHasArrivedIsAnsweredBeforeItsConnectionIsReplaced) {
  create();
  std::vector<os::Fd> clients;
  for (std::size_t i = 0; i < 4 * kMaxOfThisProcess; ++i) {
    clients.push_back(connect());
    send(clients.back(), "GET / HTTP/1.1\r\n\r\n");
  }
  handle();
  for (const os::Fd& client : clients) EXPECT_TRUE(received(client).ends_with("lamina_up 1\n"));
}

TEST_F(MetricsSocketTest, TheMetricsCanBeReadBesideACrowdOfSilentClients) {
  create();
  std::atomic<bool> stopping = false;
  const std::jthread server([&] {
    while (!stopping) {
      std::array<pollfd, 2> events = {pollfd{socket_->fd(), POLLIN, 0},
                                      pollfd{socket_->clients_fd(), POLLIN, 0}};
      if (::poll(events.data(), events.size(), 10) > 0) handle();
    }
  });
  const std::jthread crowd([&] {
    std::vector<os::Fd> clients;
    while (!stopping) {
      auto client = os::connect_to(path_, std::chrono::milliseconds(10));
      if (client) clients.push_back(std::move(*client));
      if (clients.size() > 2 * kMaxOfThisProcess) clients.erase(clients.begin());
    }
  });
  for (int i = 0; i < 20; ++i) {
    const auto metrics = read_serve_metrics(path_);
    EXPECT_EQ(metrics.value_or(metrics ? "" : metrics.error().message), "lamina_up 1\n");
  }
  stopping = true;
}

/// 10,000 VMs, each with figures of its own, take several MiB.
TEST_F(MetricsSocketTest, MetricsOfTenThousandVmsAreRead) {
  create();
  const pager::VmCounters counters;
  const pager::NetworkWaits waits;
  std::vector<VmFigures> vms;
  constexpr int kVms = 10'000;
  vms.reserve(kVms);
  for (int i = 0; i < kVms; ++i) {
    vms.push_back({fmt::format("{}-1234567890", 4'000'000 + i), 1 << 30, &counters, &waits});
  }
  const std::string sent = format_metrics({}, vms, std::nullopt);
  EXPECT_LT(sent.size(), kVms * std::size_t{1024});
  std::atomic<bool> done = false;
  const std::jthread server([&] {
    while (!done) {
      std::array<pollfd, 2> events = {pollfd{socket_->fd(), POLLIN, 0},
                                      pollfd{socket_->clients_fd(), POLLIN, 0}};
      if (::poll(events.data(), events.size(), 10) > 0) socket_->handle([&sent] { return sent; });
    }
  });
  const auto metrics = read_serve_metrics(path_);
  done = true;
  ASSERT_TRUE(metrics) << metrics.error().message;
  EXPECT_TRUE(*metrics == sent) << metrics->size();
}

/// Asks to stop from the beginning.
class Stopped : public Progress {
 public:
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  bool interrupted() override { return true; }
};

TEST_F(MetricsSocketTest, AReaderOfASilentServerCanBeInterrupted) {
  create();
  Stopped stopped;
  EXPECT_EQ(read_serve_metrics(path_, &stopped).error().kind, ErrorKind::kInterrupted);
  // Nor does it wait for room in the backlog.
  std::vector<os::Fd> waiting;
  while (auto client = os::connect_to(path_, std::chrono::milliseconds(1))) {
    waiting.push_back(std::move(*client));
  }
  EXPECT_EQ(read_serve_metrics(path_, &stopped).error().kind, ErrorKind::kInterrupted);
}

TEST_F(MetricsSocketTest, AnotherSocketIsNotTakenForOne) {
  EXPECT_EQ(read_serve_metrics(path_).error().kind, ErrorKind::kNotFound);
  const auto listening = os::listen_at(path_, {});
  ASSERT_TRUE(listening);
  for (const std::string_view answer : {"hello\n", "HTTP/1.1 404 Not Found\r\n\r\n"}) {
    const std::jthread other([&] {
      pollfd event{listening->get(), POLLIN, 0};
      ASSERT_EQ(::poll(&event, 1, -1), 1);
      const auto client = os::accept_connection(listening->get(), path_);
      ASSERT_TRUE(client && *client);
      send(**client, answer);
      // Not before its request: closing would discard the answer.
      pollfd request{(*client)->get(), POLLIN, 0};
      ASSERT_EQ(::poll(&request, 1, -1), 1);
      static_cast<void>(received(**client));
    });
    const auto metrics = read_serve_metrics(path_);
    ASSERT_FALSE(metrics);
    EXPECT_EQ(metrics.error().kind, ErrorKind::kFailed);
    EXPECT_NE(metrics.error().message.find("is not a metrics socket of lamina"), std::string::npos)
        << metrics.error().message;
  }
}

}  // namespace
}  // namespace lamina::server
