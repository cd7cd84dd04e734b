// A stand-in for Cloud Hypervisor 53, for tests: its API and both sides of its local migration on
// the wire, memory as it maps it, a guest that knows what each page must be, and failures on
// demand.
//
// Prints "ready pid=… api=…" once it listens. Exit codes: 0 its VM was taken over; 1 a failure that
// was asked for; 2 usage.
//
// Commands of the control socket, one a line: write PAGE SEED | read PAGE | discard PAGE COUNT |
// run OPERATIONS SEED | check | pages | dump PATH | config | fail POINT | release | held.
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "stand_ins/cloud_hypervisor/machine.h"
#include "stand_ins/sockets.h"

namespace lamina::cloud_hypervisor_stand_in {
namespace {

struct Arguments {
  std::string api_socket;
  std::string control_socket;
  std::string version = "v53.0";
  BootOptions boot;
  bool start = false;
  bool writer = false;
  bool discards = false;
};

struct Answer {
  int status = 204;
  std::string body;
};

Answer error_answer(int status, const std::string& message) {
  return {status, Json::array({"Error from API", message}).dump()};
}

Answer outcome_of(const Status& done) {
  if (done) return {};
  return error_answer(done.error().message == "VM is not created" ? 404 : 500,
                      done.error().message);
}

/// "unix:PATH"; empty if the body is not as release 53 wants it.
std::string socket_in(const std::string& body, const char* field, const char* other,
                      const Json& other_value) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains(field) || !json[field].is_string()) return {};
  if (json.size() != 2 || !json.contains(other) || json[other] != other_value) return {};
  const auto url = json[field].get<std::string>();
  return url.starts_with("unix:") ? url.substr(5) : "";
}

/// "file://PATH".
std::string directory_in(const std::string& body, const char* field) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains(field) || !json[field].is_string()) return {};
  const auto url = json[field].get<std::string>();
  return url.starts_with("file://") ? url.substr(7) : "";
}

/// What a running guest is told to do; false if it cannot.
bool use(Guest& guest, const std::string& verb, std::uint64_t first, std::uint64_t second) {
  if (verb == "run") {
    std::uint64_t random = second;
    for (std::uint64_t i = 0; i < first; ++i) guest.operate(random, true);
  } else if (verb == "write" && first < guest.pages()) {
    guest.write(first, second);
  } else if (verb == "read" && first < guest.pages()) {
    guest.read(first);
  } else if (verb == "discard" && first + second <= guest.pages()) {
    guest.discard(first, second);
  } else {
    return false;
  }
  return true;
}

class Api {
 public:
  Api(Machine& machine, Points& points, std::string version)
      : machine_(machine), points_(points), version_(std::move(version)) {}

  Answer handle(const std::string& method, const std::string& path, const std::string& body) {
    constexpr std::string_view kRoot = "/api/v1/";
    const std::string name = path.starts_with(kRoot) ? path.substr(kRoot.size()) : "";
    const bool is_get = name == "vmm.ping" || name == "vm.info";
    const bool is_put = name == "vm.pause" || name == "vm.resume" || name == "vm.resize" ||
                        name == "vm.send-migration" || name == "vm.receive-migration" ||
                        name == "vm.snapshot" || name == "vm.restore" || name == "vmm.shutdown";
    if (!is_get && !is_put) return {404, R"(["Not Found"])"};
    if (method != (is_get ? "GET" : "PUT")) return {400, R"(["Bad Request"])"};
    // One request at a time.
    const std::lock_guard lock(mutex_);
    return is_get ? get(name) : put(name, body);
  }

  /// The answer to one line of the control socket.
  std::string command(const std::string& line);

 private:
  Answer get(const std::string& name) {
    if (name == "vmm.ping") {
      return {200, Json{{"build_version", version_ + "-stand-in"},
                        {"version", version_},
                        {"pid", ::getpid()},
                        {"features", Json::array({"kvm"})}}
                       .dump()};
    }
    const auto info = machine_.info();
    if (!info) return outcome_of(std::unexpected(info.error()));
    return {200, info->dump()};
  }

  Answer put(const std::string& name, const std::string& body) {
    if (name == "vm.pause") return outcome_of(machine_.pause());
    if (name == "vm.resume") return outcome_of(machine_.resume());
    if (name == "vmm.shutdown") ::_exit(0);
    if (name == "vm.send-migration") {
      const std::string socket = socket_in(body, "destination_url", "local", true);
      if (socket.empty()) return {400, R"(["Failed to deserialize JSON"])"};
      return outcome_of(machine_.send_migration(socket));
    }
    if (name == "vm.receive-migration") {
      const std::string socket = socket_in(body, "receiver_url", "memory_mode", "Precopy");
      if (socket.empty()) return {400, R"(["Failed to deserialize JSON"])"};
      return outcome_of(machine_.receive_migration(socket));
    }
    if (name == "vm.snapshot") {
      return outcome_of(machine_.snapshot(directory_in(body, "destination_url")));
    }
    if (name == "vm.restore") {
      return outcome_of(machine_.restore_from(directory_in(body, "source_url")));
    }
    return error_answer(500, "not played");
  }

  Machine& machine_;
  Points& points_;
  std::string version_;
  std::mutex mutex_;
};

std::string Api::command(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  std::string text;
  words >> verb >> text;
  if (verb == "release") return points_.release() ? "ok" : "error nothing is held";
  if (verb == "held") return points_.is_held() ? "ok yes" : "ok no";
  if (verb == "fail") return points_.arm(text) ? "ok" : "error no point of failure " + text;
  Guest* guest = machine_.guest();
  if (guest == nullptr) return "error no VM";
  if (verb == "pages") return fmt::format("ok {}", guest->pages());
  if (verb == "config") return "ok " + machine_.info().value_or(Json())["config"].dump();
  if (verb == "check") {
    const auto wrong = guest->check();
    return wrong ? "wrong " + *wrong : "ok";
  }
  if (verb == "dump") {
    const Status dumped = guest->dump(text);
    return dumped ? "ok" : "error " + dumped.error().message;
  }
  std::uint64_t second = 0;
  words >> second;
  bool is_known = true;
  const bool ran = machine_.while_running(
      [&] { is_known = use(*guest, verb, std::strtoull(text.c_str(), nullptr, 10), second); });
  if (!ran) return "error not running";
  return is_known ? "ok" : "error what is " + line;
}

/// Receives more; false at the end.
bool receive(int socket, std::string& received) {
  std::array<char, 4096> buffer{};
  ssize_t count = -1;
  do {
    count = ::recv(socket, buffer.data(), buffer.size(), 0);
  } while (count < 0 && errno == EINTR);
  if (count <= 0) return false;
  received.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

void serve_control(int number, Api& api) {
  const os::Fd socket(number);
  std::string received;
  while (receive(socket.get(), received)) {
    for (std::size_t end = received.find('\n'); end != std::string::npos;
         end = received.find('\n')) {
      const std::string answer = api.command(received.substr(0, end)) + "\n";
      received.erase(0, end + 1);
      if (!tests::send_all(socket.get(), answer)) return;
    }
  }
}

void serve_http(int number, Api& api) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  const os::Fd socket(number);
  std::string received;
  while (true) {
    std::size_t end = std::string::npos;
    while ((end = received.find(kEnd)) == std::string::npos) {
      if (!receive(socket.get(), received)) return;
    }
    std::istringstream head(received.substr(0, end));
    std::string method;
    std::string path;
    head >> method >> path;
    std::size_t length = 0;
    std::string line;
    while (std::getline(head, line)) {
      constexpr std::string_view kLength = "content-length:";
      std::string lower = line.substr(0, kLength.size());
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (lower == kLength) length = std::strtoull(line.c_str() + kLength.size(), nullptr, 10);
    }
    received.erase(0, end + kEnd.size());
    while (received.size() < length) {
      if (!receive(socket.get(), received)) return;
    }
    const Answer answer = api.handle(method, path, received.substr(0, length));
    received.erase(0, length);
    std::string bytes =
        fmt::format("HTTP/1.1 {} \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n",
                    answer.status);
    if (answer.status != 204) {
      bytes += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                           answer.body.size());
    }
    if (!tests::send_all(socket.get(), bytes + "\r\n" + answer.body)) return;
  }
}

template <typename Serve>
[[noreturn]] void accept_all(int listening, Api& api, const Serve& serve) {
  while (true) {
    const int socket = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    std::thread([socket, &api, &serve] { serve(socket, api); }).detach();
  }
}

int listen_or_exit(const std::string& path) {
  const int socket = tests::listen_at(path);
  if (socket >= 0) return socket;
  std::fprintf(stderr, "listen '%s': %s\n", path.c_str(), std::strerror(errno));
  std::exit(1);
}

void run(const Arguments& arguments) {
  // Threads use them until the process ends by _exit.
  auto& points = *new Points;
  auto& machine = *new Machine(points);
  auto& api = *new Api(machine, points, arguments.version);
  if (arguments.start) {
    const Status booted = machine.boot(arguments.boot);
    if (!booted) {
      std::fprintf(stderr, "%s\n", booted.error().message.c_str());
      std::exit(1);
    }
  }
  if (arguments.writer) machine.start_writer(arguments.discards);
  const int control = listen_or_exit(arguments.control_socket);
  std::thread([control, &api] { accept_all(control, api, serve_control); }).detach();
  const int listening = listen_or_exit(arguments.api_socket);
  std::printf("ready pid=%d api=%s\n", ::getpid(), arguments.api_socket.c_str());
  std::fflush(stdout);
  accept_all(listening, api, serve_http);
}

}  // namespace
}  // namespace lamina::cloud_hypervisor_stand_in

int main(int argc, char** argv) {
  try {
    CLI::App app{"A stand-in for Cloud Hypervisor."};
    lamina::cloud_hypervisor_stand_in::Arguments arguments;
    app.add_option("--api-socket", arguments.api_socket, "Socket of the API")->required();
    app.add_option("--control", arguments.control_socket, "Socket for the test's commands")
        ->required();
    app.add_option("--version", arguments.version, "Version to give out");
    app.add_option("--memory-mib", arguments.boot.memory_mib, "Memory of a VM that is started");
    app.add_flag("--shared", arguments.boot.is_shared, "Its memory is in memfds");
    app.add_flag("--huge-pages", arguments.boot.has_huge_pages, "Its memory is on huge pages");
    app.add_option("--zone-file", arguments.boot.zone_file, "Its memory is this file, private");
    app.add_flag("--gap", arguments.boot.has_gap, "Two ranges of memory, the second at 4 GiB");
    app.add_option("--serial-file", arguments.boot.serial_file, "File of its serial console");
    app.add_option("--net", arguments.boot.network, "Id of a network device");
    app.add_option("--disk", arguments.boot.disk, "File of a disk");
    app.add_option("--vsock", arguments.boot.vsock, "Socket of a vsock device");
    app.add_flag("--start", arguments.start, "A VM that runs; else one is waited for");
    app.add_flag("!--unchecked", arguments.boot.is_checked,
                 "What a fresh VM reads is not checked, so its state is as small as a real one's");
    app.add_flag("--writer", arguments.writer, "A thread uses memory while the VM runs");
    app.add_flag("--discards", arguments.discards, "It gives pages back, too");
    CLI11_PARSE(app, argc, argv);
    lamina::cloud_hypervisor_stand_in::run(arguments);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
