// A VM as a page server sees one: it maps memory, hands it over as Firecracker does, uses it from
// several threads and compares every byte with what it must be.
//
// With --touch and --wait it prints "touched" after those pages, and reads all of them when its
// input has ended. Prints "connected" when the handshake was sent, and at the end one line of JSON.
// Exit codes: 0 every byte was right, 1 a byte was wrong (or a hostile peer was not turned away), 2
// usage, 3 a thread was stuck, 77 this machine cannot do it.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "stand_ins/guest_process.h"
#include "stand_ins/hostile_peer.h"
#include "stand_ins/memory_user.h"
#include "stand_ins/page_server_connection.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {
namespace {

constexpr int kExitRight = 0;
constexpr int kExitWrong = 1;
constexpr int kExitUsage = 2;

struct Arguments {
  std::string socket;
  std::string truth;
  std::vector<std::string> regions;
  std::vector<std::uint64_t> touch;
  std::string misbehave;
  std::string handshake = "plain";
  std::uint32_t user = 0;
  bool split = false;
  bool wait_first = false;
  long timeout_s = 20;
  Usage usage;
};

/// BYTES or BYTES@OFFSET.
GuestLayout layout_of(const Arguments& arguments) {
  GuestLayout layout;
  layout.huge_pages = arguments.usage.page_bytes == kGuestHugePageBytes;
  std::uint64_t offset = 0;
  for (const std::string& text : arguments.regions) {
    std::size_t end = 0;
    const std::uint64_t bytes = std::stoull(text, &end);
    if (end < text.size() && text[end] == '@') offset = std::stoull(text.substr(end + 1));
    layout.region_bytes.push_back(bytes);
    layout.memory_offsets.push_back(offset);
    offset += bytes;
  }
  return layout;
}

OfferedMemory offer_memory(const GuestLayout& layout) {
  OfferedMemory memory{open_userfaultfd(), map_regions(layout)};
  for (const GuestRegion& region : memory.regions) {
    register_memory(memory.userfaultfd, region.memory, region.size_bytes);
  }
  return memory;
}

/// Cuts the mappings into many: what fills guest memory cannot go over their borders.
void split_mappings(const OfferedMemory& memory) {
  constexpr std::size_t kPieceBytes = 37 * kGuestPageBytes;
  for (const GuestRegion& region : memory.regions) {
    for (std::size_t at = 0; at + kPieceBytes <= region.size_bytes; at += 2 * kPieceBytes) {
      if (::madvise(region.memory + at, kPieceBytes, MADV_DONTFORK) != 0) ::_exit(kExitUsage);
    }
  }
}

/// Sends the handshake in one of the ways that a server must accept.
bool hand_over(int socket, const OfferedMemory& memory, const Arguments& arguments) {
  const std::string json = regions_json(memory.regions, arguments.usage.page_bytes);
  const std::array<int, 1> fds = {memory.userfaultfd};
  if (arguments.handshake == "pieces") {
    // The descriptor comes with the first piece.
    if (!send_with_descriptors(socket, json.substr(0, 1), fds)) return false;
    for (std::size_t i = 1; i < json.size(); i += 7) {
      if (!send_with_descriptors(socket, json.substr(i, 7), {})) return false;
    }
    return true;
  }
  if (arguments.handshake == "several-descriptors") {
    const std::array<int, 3> more = {memory.userfaultfd, STDERR_FILENO, socket};
    return send_with_descriptors(socket, json, more);
  }
  if (arguments.handshake == "empty-first") {
    if (::send(socket, "", 0, MSG_NOSIGNAL) != 0) return false;
  }
  return send_with_descriptors(socket, json, fds);
}

/// A second connection of the same process must be closed, and leave the first one alone.
bool is_turned_away(const std::string& path, const OfferedMemory& memory,
                    const Arguments& arguments) {
  return misbehave("silent", path, memory, arguments.usage.page_bytes, arguments.usage.timeout) ==
         0;
}

/// Reads the pages that were asked for; then, when it is told to wait, all of the memory once its
/// input has ended.
UsageReport touch(const OfferedMemory& memory, const Arguments& arguments) {
  UsageReport report = touch_pages(memory.regions, truth_of_file(arguments.truth), arguments.touch);
  if (!arguments.usage.wait_for_end_of_input) return report;
  std::puts("touched");
  std::fflush(stdout);
  std::array<char, 64> input{};
  while (::read(STDIN_FILENO, input.data(), input.size()) > 0) {
  }
  std::vector<std::uint64_t> all;
  for (const GuestRegion& region : memory.regions) {
    for (std::size_t at = 0; at < region.size_bytes; at += kGuestPageBytes) {
      all.push_back((region.memory_offset + at) / kGuestPageBytes);
    }
  }
  const UsageReport rest = touch_pages(memory.regions, truth_of_file(arguments.truth), all);
  report.reads += rest.reads;
  report.wrong_pages += rest.wrong_pages;
  return report;
}

void print_report(const UsageReport& report) {
  std::printf(
      "{\"reads\":%llu,\"writes\":%llu,\"removes\":%llu,\"wrong_pages\":%llu,"
      "\"first_wrong\":\"%s\"}\n",
      static_cast<unsigned long long>(report.reads), static_cast<unsigned long long>(report.writes),
      static_cast<unsigned long long>(report.removes),
      static_cast<unsigned long long>(report.wrong_pages), report.first_wrong.c_str());
}

int run(const Arguments& arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const OfferedMemory memory = offer_memory(layout_of(arguments));
  if (arguments.user != 0 && (::setgid(arguments.user) != 0 || ::setuid(arguments.user) != 0)) {
    return kExitUsage;
  }
  if (arguments.split) split_mappings(memory);
  char go = 0;
  if (arguments.wait_first && ::read(STDIN_FILENO, &go, 1) != 1) return kExitUsage;
  if (!arguments.misbehave.empty()) {
    return misbehave(arguments.misbehave, arguments.socket, memory, arguments.usage.page_bytes,
                     arguments.usage.timeout);
  }
  const int socket = connect_to(arguments.socket);
  if (socket < 0 || !hand_over(socket, memory, arguments)) {
    std::perror(arguments.socket.c_str());
    return kExitWrong;
  }
  std::puts("connected");
  std::fflush(stdout);
  if (arguments.handshake == "twice" && !is_turned_away(arguments.socket, memory, arguments)) {
    return kExitWrong;
  }
  const UsageReport report =
      arguments.touch.empty()
          ? use_memory(memory.regions, truth_of_file(arguments.truth), arguments.usage)
          : touch(memory, arguments);
  print_report(report);
  return report.exit_code();
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("behaves as a VM towards a page server");
  app.add_option("--socket", arguments.socket)->required();
  app.add_option("--truth", arguments.truth, "what the memory must hold");
  app.add_option("--regions", arguments.regions, "BYTES or BYTES@OFFSET each")
      ->delimiter(',')
      ->required();
  app.add_option("--page", arguments.usage.page_bytes, "4096, or 2097152 from the huge pages");
  app.add_option("--threads", arguments.usage.threads);
  app.add_option("--operations", arguments.usage.operations, "of each thread");
  app.add_option("--seed", arguments.usage.seed);
  app.add_flag("--wait", arguments.usage.wait_for_end_of_input, "goes on until stdin ends");
  app.add_option("--die-after", arguments.usage.die_after, "operations, then SIGKILL");
  app.add_option("--touch", arguments.touch, "reads only these pages, in this order")
      ->delimiter(',');
  app.add_option("--timeout", arguments.timeout_s, "seconds until a thread counts as stuck");
  app.add_flag("--wait-first", arguments.wait_first, "connects when a byte comes from stdin");
  app.add_flag("--split", arguments.split, "many mappings instead of one per region");
  app.add_option("--user", arguments.user, "becomes this user before it connects");
  app.add_option("--handshake", arguments.handshake)
      ->check(CLI::IsMember({"plain", "pieces", "several-descriptors", "empty-first", "twice"}));
  app.add_option("--misbehave", arguments.misbehave)->check(CLI::IsMember(misbehaviours()));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitRight : kExitUsage;
  }
  arguments.usage.timeout = std::chrono::seconds(arguments.timeout_s);
  return run(arguments);
}

}  // namespace
}  // namespace lamina::tests

int main(int argc, char** argv) {
  try {
    return lamina::tests::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return lamina::tests::kExitUsage;
  }
}
