#include "stand_ins/firecracker/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "os/file.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {
namespace {

/// The words of a line, and its numbers.
struct Command {
  std::string verb;
  std::string argument;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  bool has_first = false;
  bool has_second = false;
};

Command parse(const std::string& line) {
  Command command;
  std::istringstream words(line);
  words >> command.verb;
  std::getline(words >> std::ws, command.argument);
  std::istringstream numbers(command.argument);
  command.has_first = static_cast<bool>(numbers >> command.first);
  command.has_second = static_cast<bool>(numbers >> command.second);
  return command;
}

/// The result of the guest's operations so far.
std::string verdict(Guest& guest) {
  if (const auto wrong = guest.first_wrong()) return "wrong " + *wrong;
  return "ok";
}

std::string touch(Guest& guest, std::uint64_t count, std::uint64_t seed) {
  GuestRandom random(seed);
  for (std::uint64_t i = 0; i < count; ++i) guest.read(random.next() % guest.pages());
  return verdict(guest);
}

std::string run(Guest& guest, std::uint64_t count, std::uint64_t seed, bool balloon) {
  GuestRandom random(seed);
  for (std::uint64_t i = 0; i < count; ++i) operate(guest, random, {}, balloon);
  return verdict(guest);
}

/// An operation of the guest; nothing when the line is none.
std::optional<std::string> operate_by(const Command& command, Guest& guest,
                                      const VmOptions& options) {
  if (command.verb == "touch") return touch(guest, command.first, command.second);
  if (command.verb == "run") return run(guest, command.first, command.second, options.balloon);
  if (command.first >= guest.pages()) return "error no such page";
  const auto page = static_cast<std::size_t>(command.first);
  if (command.verb == "write" && command.has_second) {
    guest.write(page, command.second);
  } else if (command.verb == "clear") {
    guest.write(page, 0);
  } else if (command.verb == "read") {
    guest.read(page);
  } else if (command.verb == "balloon" && options.discards &&
             command.second <= guest.pages() - page) {
    guest.balloon(page, command.second);
  } else {
    return std::nullopt;
  }
  return verdict(guest);
}

std::string check(Guest& guest) {
  if (const auto wrong = guest.check()) return "wrong " + *wrong;
  return fmt::format("ok pages={}", guest.pages());
}

std::string dump(const Guest& guest, const std::string& path) {
  const os::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) return "error " + os_error_text(errno);
  for (const GuestRegion& region : guest.mapping().regions()) {
    // Unplugged memory is not touched.
    const std::uint64_t end = std::uint64_t{guest.pages()} * kGuestPageBytes;
    if (region.memory_offset >= end) continue;
    const std::size_t size = std::min<std::uint64_t>(region.size_bytes, end - region.memory_offset);
    const Status written =
        os::write_at(file.get(), {region.memory, size}, region.memory_offset, path);
    if (!written) return "error " + written.error().message;
  }
  const auto bytes = static_cast<off_t>(guest.mapping().pages() * kGuestPageBytes);
  if (::ftruncate(file.get(), bytes) != 0) return "error " + os_error_text(errno);
  return "ok";
}

std::string count_dirty(const Guest& guest) {
  std::size_t count = 0;
  for (const bool dirty : guest.dirty()) count += dirty ? 1 : 0;
  return fmt::format("ok {}", count);
}

/// A question about the memory; nothing when the line is none.
std::optional<std::string> ask(const Command& command, Guest& guest) {
  if (command.verb == "check") return check(guest);
  if (command.verb == "dirty") return count_dirty(guest);
  if (command.verb == "pages") return fmt::format("ok {}", guest.pages());
  if (command.verb == "digest") return fmt::format("ok {:08x}", guest.digest());
  if (command.verb == "dump") return dump(guest, command.argument);
  return std::nullopt;
}

bool is_operation(const std::string& verb) {
  return verb == "write" || verb == "clear" || verb == "read" || verb == "balloon" ||
         verb == "run" || verb == "touch";
}

}  // namespace

std::string Control::answer(const std::string& line) {
  const Command command = parse(line);
  if (command.verb == "release") return hold_.release() ? "ok" : "error nothing is held";
  if (command.verb == "held") return hold_.is_held() ? "ok yes" : "ok no";
  if (command.verb == "turned-away") return fmt::format("ok {}", turned_away_.load());
  if (command.verb == "fail") {
    const Status armed = failures_.arm(command.argument);
    return armed ? "ok" : "error " + armed.error().message;
  }
  Guest* guest = vm_.guest();
  if (guest == nullptr) return "error not started";
  if (!is_operation(command.verb)) return ask(command, *guest).value_or("error what is " + line);
  if (!command.has_first) return "error a number is missing: " + line;
  if (!vm_.gate().try_enter()) return "error not running";
  const auto done = operate_by(command, *guest, vm_.options());
  vm_.gate().leave();
  return done.value_or("error what is " + line);
}

void Control::converse(const os::Fd& socket) {
  std::string received;
  std::array<char, 1024> buffer{};
  while (true) {
    const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    received.append(buffer.data(), static_cast<std::size_t>(count));
    for (std::size_t end = received.find('\n'); end != std::string::npos;
         end = received.find('\n')) {
      const std::string text = answer(received.substr(0, end)) + "\n";
      received.erase(0, end + 1);
      if (!send_all(socket.get(), text)) return;
    }
  }
}

void Control::serve(os::Fd listening) {
  std::thread([this, listening = std::move(listening)] {
    while (true) {
      os::Fd socket(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket.valid()) continue;
      std::thread([this, socket = std::move(socket)] { converse(socket); }).detach();
    }
  }).detach();
}

}  // namespace lamina::tests
